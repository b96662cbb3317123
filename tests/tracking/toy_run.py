"""What a small run leaves in its folder."""

from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.summary import summarize
from rerankbench.tracking.curves import draw
from rerankbench.tracking.environment import environment
from rerankbench.tracking.history import History
from rerankbench.tracking.run_folder import RunFolder, read_json

CONFIG = {
    "seed": 0,
    "name": "toy",
    "run_dir": None,
    "benchmark": {"_target_": "rerankbench.benchmarks.pydocs.PyDocs", "split": "test", "fields": ["title", "text"]},
    "reranker": {"depth": 20, "note": ""},
    "measures": {"names": ["ndcg@10", "p@1"]},
    "tracking": {"uri": None},
}
QRELS = {"q1": {"a": 2, "b": 1}, "q2": {"c": 1}, "q3": {"d": 1}}
FIRST = {"q1": [("b", 2.0), ("a", 1.0)], "q2": [("y", 1.0), ("c", 0.5)], "q3": []}
RERANKED = {"q1": [("a", 2.0), ("b", 2.0)], "q2": [("c", 1.0), ("y", 0.5)], "q3": []}
COST = {
    "seconds": {"retrieve": 0.5, "rerank": 12.25, "total": 13.0},
    "documents": 4,
    "documents_per_second": 0.3,
    "requests": 4,
    "cache_hits": 1,
    "parse_failures": 0,
    "forward_passes": 2,
    "prompt_tokens": 1234,
    "padded_tokens": 1300,
    "generated_tokens": 0,
    "query_seconds": {"p50": 0.1, "p95": 0.2},
    "peak_memory_mb": 900.5,
    "peak_cuda_memory_mb": None,
}


def fill(folder: RunFolder) -> None:
    """Write every record of a finished run."""
    metrics, rows = summarize(Measures(names=["ndcg@10", "p@1"]), QRELS, FIRST, RERANKED, 1, 0, {"failed_answers": 0})
    folder.write_run(RERANKED, tag="toy")
    folder.write_per_query(rows)
    benchmark = {"name": "toy-set", "split": "test", "description": {"documents": 5}, "fingerprint": "f" * 64}
    folder.write_json("environment.json", {**environment(), "benchmark": benchmark, "choices": {"retriever": "bm25"}})
    folder.write_json("cost.json", COST)
    folder.write(metrics)


UNTRAINED = {"untrained": 0.25, "difference": 0.125, "ci95": [0.01, 0.2], "p_ttest": 0.03, "p_randomization": 0.00001}
TRAINING = {
    "groups": 1200,
    "steps": 30,
    "seconds": 12.5,
    "best_step": 20,
    "best_dev": 0.4321,
    "dev_measure": "ndcg@10",
    "counts": {"groups_with_too_few_negatives": 3, "texts_cut": 0},
    "stages": [{"steps": 20}, {"steps": 30}],
}


def fill_training(folder: RunFolder) -> None:
    """Write every record of a finished training of two stages, with a checkpoint that holds no network."""
    history = History(folder.path / "history.jsonl")
    for stage, steps in enumerate((20, 30)):
        history.append({"stage": stage, "step": 0, "dev/ndcg@10": 0.4})
        for step in range(10, steps + 1, 10):
            history.append({"stage": stage, "step": step, "epoch": step / steps, "loss": 1 / step, "weights/mean": 1.0})
    history.append({"stage": 1, "step": 30, "loss": float("nan")})
    draw(history, folder.path / "curves.png")
    (folder.path / "checkpoint" / "1_Pooling").mkdir(parents=True)
    (folder.path / "checkpoint" / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    (folder.path / "checkpoint" / "1_Pooling" / "config.json").write_text("{}")
    fill(folder)
    untrained = dict.fromkeys(("ndcg@10", "p@1"), UNTRAINED)
    metrics = {**read_json(folder.path, "metrics.json"), "untrained": untrained, "training": TRAINING}
    folder.write_json("metrics.json", metrics)
