"""A planted bias for CET: half of the relevant documents are hidden, the rarer the higher BM25 ranks them.

A bi-encoder is trained on what is left, naively and with the weighting, and measured on all judgments of other
queries. Shown too: the label that hidden positives end with beside that of true negatives at the same ranks.
`python scripts/planted_bias.py COLLECTION [--seeds 3]`; in BEIR layout, with several relevant documents a query.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.local import Local
from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.evaluation.measures import per_query
from rerankbench.evaluation.significance import paired
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.store import Store
from rerankbench.training.groups import Group, batch_of
from rerankbench.training.scored import Scored
from rerankbench.training.sources import Source, TrainingData, candidate_groups
from rerankbench.training.stages.stage import PreparedStage, TrainingContext
from rerankbench.training.stages.supervised import Supervised
from rerankbench.types import Qrels, Run

if TYPE_CHECKING:
    import torch

DEPTH = 50
WAYS = {"all labels": ("none", False), "naive": ("none", True), "cet": ("cet", True)}


def main() -> None:
    """Print nDCG@10 of each way and seed, tests, and the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        benchmark = Local(path=options.collection).load()
        parts = recipe("none", 0)
        first_stage = build(parts["retriever"], "retriever").retrieve(benchmark, store)
        train, test = halves(benchmark)
        values: dict[str, list[float]] = {way: [] for way in WAYS}
        for seed in range(options.seeds):
            planted, hidden = plant(train, first_stage, seed)
            for way, (weighting, biased) in WAYS.items():
                source = planted if biased else train
                folder = Path(name) / f"{way}-{seed}"
                found, labels = trained(weighting, source, test, first_stage, hidden, store, folder, seed)
                values[way] += found
                mean = sum(found) / len(found)
                print(f"seed {seed}, {way}: nDCG@10 {mean:.4f}; {labels}", flush=True)
        for way in ("all labels", "cet"):
            result = paired(values["naive"], values[way], seed=0)
            print(
                f"{way} beside naive: {result['difference']:+.4f} {result['ci95']}, p {result['p_randomization']:.4f}"
            )


def recipe(weighting: str, seed: int) -> dict[str, Any]:
    """The checked configuration of the training."""
    words = ["recipe=bi_encoder", "recipe/loss=bce", "recipe.loss.threshold=null", f"seed={seed}",
             f"recipe/weighting={weighting}", "recipe/groups=mixed", "recipe.groups.size=16", "recipe.groups.per=query",
             "recipe.loop.epochs=4", "recipe.loop.batch_groups=4", "recipe.loop.evaluations=1"]  # fmt: skip
    return compose("train", words).parts


@dataclass(kw_only=True)
class LogOdds(BiEncoder):
    """Cross-entropy wants log-odds, which a cosine is not: one half is undecided (after SigLIP, arXiv 2303.15343)."""

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TrainableScorer."""
        return 12 * (super().scores(requests, outputs) - 0.5)


def halves(benchmark: Benchmark) -> tuple[Benchmark, Benchmark]:
    """Two thirds of the queries with several relevant documents for training, the rest for the test."""
    several = [q for q in benchmark.queries if sum(grade > 0 for grade in benchmark.qrels[q.id].values()) > 1]
    order = random.Random(0).sample(several, len(several))
    cut = 2 * len(order) // 3
    parts = []
    for own in (order[:cut], order[cut:]):
        qrels = {q.id: {d: int(grade > 0) for d, grade in benchmark.qrels[q.id].items()} for q in own}
        parts.append(replace(benchmark, queries=tuple(own), qrels=qrels, candidates=None))
    return parts[0], parts[1]


def plant(train: Benchmark, first_stage: Run, seed: int) -> tuple[Benchmark, set[tuple[str, str]]]:
    """The training set with half of its positives hidden: the lower BM25 ranks one, the likelier. One stays a query."""
    chance = random.Random(seed)
    hidden: set[tuple[str, str]] = set()
    qrels: Qrels = {}
    for query in train.queries:
        places = {document: place for place, (document, _) in enumerate(first_stage[query.id])}
        relevant = [d for d, grade in train.qrels[query.id].items() if grade > 0]
        draws = {d: chance.random() ** (1 / (1 + places.get(d, 100))) for d in relevant}
        gone = sorted(relevant, key=lambda d: -draws[d])[: len(relevant) // 2]
        hidden |= {(query.id, d) for d in gone}
        qrels[query.id] = {d: 1 for d in relevant if d not in gone}  # and nobody judged anything else
    return replace(train, qrels=qrels), hidden


def trained(
    weighting: str,
    source: Benchmark,
    test: Benchmark,
    first_stage: Run,
    hidden: set[tuple[str, str]],
    store: Store,
    folder: Path,
    seed: int,
) -> tuple[list[float], str]:
    """nDCG@10 of each test query, and a line on the labels of hidden positives."""
    import torch
    from scipy.stats import mannwhitneyu
    from transformers import set_seed

    parts = recipe(weighting, seed)
    model = build(parts["reranker"], "reranker").scorer.model
    ((name, stage),) = build(parts["recipe"], "recipe").stages.items()
    set_seed(seed)
    bf16 = "bfloat16" in str(model.torch_dtype)
    scorer = LogOdds(model=model).for_training()
    data = TrainingData(sources=[Source(source, first_stage)], held_out=test.queries)
    context = TrainingContext(
        scorer=scorer, data=data, names=[name], store=store, folder=folder, seed=seed, device=torch.device("cpu"),
        bf16=bf16,
    )  # fmt: skip
    prepared: list[PreparedStage] = []
    plain = Supervised.prepare

    def prepare(self: Supervised, context: TrainingContext, name: str) -> PreparedStage:
        prepared.append(plain(self, context, name))
        return prepared[0]

    Supervised.prepare = prepare  # type: ignore[method-assign]
    try:
        stage.run(context, name)
    finally:
        Supervised.prepare = plain  # type: ignore[method-assign]
    module: Any = prepared[0].trainer.module

    def scored(benchmark: Benchmark) -> list[tuple[Group, list[float]]]:
        groups = candidate_groups(benchmark, first_stage, DEPTH)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return list(zip(groups, module.score(groups), strict=True))

    run = {}
    for group, scores in scored(test):
        ranked = sorted(zip([d.id for d in group.documents], scores, strict=True), key=lambda pair: -pair[1])
        run[group.query.id] = ranked
    found = list(per_query(["ndcg@10"], run, test.qrels, 1)["ndcg@10"].values())
    if module.weighting is None:
        return found, "labels as given"
    positives, negatives = [], []
    for group, scores in scored(source):
        group = replace(group, judged=tuple(label > 0 for label in group.labels))
        batch = batch_of([group])
        rows = Scored(torch.tensor([scores]), batch.labels, batch.mask, batch=batch)
        labels = module.weighting.labels(rows)[0].tolist()
        for place, (document, label) in enumerate(zip(group.documents, labels, strict=True)):
            if (group.query.id, document.id) in hidden:
                near = range(max(0, place - 3), min(len(labels), place + 4))
                others = [i for i in near if group.labels[i] == 0
                          and (group.query.id, group.documents[i].id) not in hidden]  # fmt: skip
                if others:
                    positives.append(label)
                    negatives.append(sum(labels[i] for i in others) / len(others))
    p = mannwhitneyu(positives, negatives, alternative="greater").pvalue
    means = sum(positives) / len(positives), sum(negatives) / len(negatives)
    return found, f"label of hidden positives {means[0]:.3f}, of negatives beside them {means[1]:.3f}, p {p:.1e}"


if __name__ == "__main__":
    main()
