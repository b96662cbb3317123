"""`rerankbench train`: what it leaves, that it repeats, goes on where it was killed, and says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rerankbench.cli import main
from rerankbench.tracking.records import RunRecord
from tests.models.toy_language_model import save_llama
from tests.models.toy_model import save
from tests.training.toy_collection import save_collection

FILES = {"config.yaml", "run.trec", "metrics.json", "per_query.csv", "cost.json", "environment.json", "log.txt",
         "history.jsonl", "curves.png", "checkpoint"}  # fmt: skip
KINDS = {
    "bi_encoder": ["recipe=bi_encoder", "model.path=bert"],
    "cross_encoder": ["recipe=cross_encoder", "model.path=bert"],
    "late_interaction": ["recipe=late_interaction", "model.path=bert"],
    "yes_no": ["recipe=yes_no", "model.path=llama"],
    "knrm": ["recipe=neural", "reranker=knrm", "model.path=bert"],
}
FEW = ["recipe.loop.max_steps=4", "recipe.loop.batch_groups=8", "recipe.loop.evaluations=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection that can be learnt, an encoder (`still` has no dropout), and a decoder."""
    folder = tmp_path_factory.mktemp("train")
    save_collection(folder / "toy", train=12, dev=6, test=8)
    save(folder / "bert")
    file = Path(save(folder / "still")) / "config.json"
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_text(json.dumps({**json.loads(file.read_text()), **still}))
    save_llama(folder / "llama")
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.set_num_threads(1)
    monkeypatch.chdir(place)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def _words(run: str, *words: str) -> list[str]:
    return ["train", "benchmark=local", "benchmark.path=toy", "model=path", "model.device=cpu", "model.dtype=float32",
            "tracking=none", f"run_dir={run}", "reranker.depth=20", "name=toy", "store.dir=store", *words]  # fmt: skip


def _process(run: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rerankbench", *_words(run, *words)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def _run(run: Path | str) -> dict[tuple[str, str], float]:
    """Query and document → score."""
    rows = [line.split() for line in (Path(run) / "run.trec").read_text().splitlines()]
    return {(row[0], row[2]): float(row[4]) for row in rows}


def _told(run: Path | str) -> Any:
    """The record, less what a clock says."""
    record = json.loads((Path(run) / "metrics.json").read_text())
    for stage in [record["training"], *record["training"]["stages"]]:
        stage.pop("seconds")
    return record


def _same(one: str, other: str) -> None:
    assert (Path(one) / "run.trec").read_bytes() == (Path(other) / "run.trec").read_bytes()
    assert (Path(one) / "per_query.csv").read_bytes() == (Path(other) / "per_query.csv").read_bytes()
    assert _told(one) == _told(other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_is_complete_and_eval_repeats_the_run(kind: str) -> None:
    run = f"complete-{kind}"
    assert main(_words(run, *KINDS[kind], *FEW)) == 0
    folder = Path(run)
    assert {file.name for file in folder.iterdir()} >= FILES
    assert not (folder / "stages").exists()
    record = json.loads((folder / "metrics.json").read_text())
    untrained = record["untrained"]
    if kind in ("cross_encoder", "knrm"):
        assert untrained is None
        assert "has no trained" in record["untrained_reason"]
    else:
        assert set(untrained["ndcg@10"]) >= {"untrained", "difference", "ci95", "p_ttest"}
    assert record["training"]["steps"] == 4
    assert record["training"]["best_step"] in (2, 4)
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "dev/ndcg@10" in line] == [0, 2, 4]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]

    evaluate = ["eval", "benchmark=local", "benchmark.path=toy", "tracking=none", "name=toy", "reranker=trained"]
    assert main([*evaluate, f"reranker.run={run}", f"run_dir={run}-again", f"store.dir={run}-store"]) == 0
    assert (Path(f"{run}-again") / "run.trec").read_bytes() == (folder / "run.trec").read_bytes()


def test_a_finished_run_answers_before_anything_is_loaded() -> None:
    words = _words("quick", *KINDS["bi_encoder"], *FEW)
    assert main(words) == 0
    shutil.copytree("toy", "aside")
    code = f"import sys; from rerankbench.cli import main; assert main({words!r}) == 0; print(*sys.modules)"
    shutil.rmtree("toy")
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        Path("aside").rename("toy")
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not {"torch", "transformers", "mlflow", "numpy", "ranx", "bm25s"} & loaded


def test_a_training_is_read_as_records_and_analysed() -> None:
    words = ["recipe=bi_encoder", "model.path=bert", *FEW, "analysis=win_loss"]
    assert main(_words("analysed", *words)) == 0
    record = RunRecord.read(Path("analysed"))
    training = record.metrics.training
    assert training is not None and training.last.steps == 4 and len(training.stages) == 1
    assert record.metrics.untrained is not None
    assert record.metrics.untrained["ndcg@10"].after == record.metrics.measures["ndcg@10"].after
    assert sum(record.analyses["win_loss"].figures.values()) == 8  # type: ignore[arg-type]
    assert {entry.stage for entry in record.history} == {0}


def test_a_finished_run_stays_and_a_forced_one_repeats_it() -> None:
    words = [*KINDS["bi_encoder"], *FEW]
    assert main(_words("one", *words)) == 0
    stamp = (Path("one") / "run.trec").stat().st_mtime_ns
    assert main(_words("one", *words)) == 0
    assert (Path("one") / "run.trec").stat().st_mtime_ns == stamp
    assert main(_words("one", *words, "recipe.loop.learning_rate=1e-3")) == 2, "another configuration"
    shutil.copytree("one", "kept")
    assert main(_words("one", *words, "force=true")) == 0
    assert (Path("one") / "run.trec").stat().st_mtime_ns > stamp
    _same("one", "kept")
    assert main(_words("two", *words, "store.dir=another-store")) == 0
    _same("two", "kept")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(kind: str) -> None:
    words = ["recipe.loop.epochs=8", "recipe.loop.batch_groups=8", "recipe.loop.learning_rate=5e-3"]
    words += ["model.path=still"] if "model.path=bert" in KINDS[kind] else []
    assert main(_words(f"learnt-{kind}", *KINDS[kind], *words)) == 0
    lines = [json.loads(line) for line in (Path(f"learnt-{kind}") / "history.jsonl").read_text().splitlines()]
    losses, dev = ([line[name] for line in lines if name in line] for name in ("loss", "dev/ndcg@10"))
    assert losses[-1] < 0.9 * losses[0]
    if kind != "cross_encoder":  # it learns its twelve queries by heart
        assert max(dev) > dev[0] + 0.1


ADAPTATIONS = {name: ["recipe.adaptation.rank=4"] for name in ("lora", "dora", "switch_lora", "codyra")}
ADAPTATIONS |= {name: [] for name in ("full", "freeze", "bottleneck", "sparse_mask")}


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_an_adapted_network_is_saved_as_it_was_trained(adaptation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _trained(monkeypatch, f"adapted-{adaptation}", f"recipe/adaptation={adaptation}", *ADAPTATIONS[adaptation])
    run = _run(f"adapted-{adaptation}")
    assert {key: score for key, score in found.items() if key in run} == pytest.approx(run, abs=1e-4)


WEIGHTINGS = {
    "cet": ["recipe/loss=bce", "recipe.loss.threshold=null"],
    "cet_ipw": ["recipe/loss=ranknet"],
    "cet_released": ["recipe/loss=ranknet"],
    "curriculum_kde": [],
    "curriculum_normscore": [],
    "curriculum_reciprank": [],
    "extremes": [],
    "linupper": [],
    "quadratic": [],
}


QUICK = {"cet", "curriculum_normscore", "quadratic"}


@pytest.mark.parametrize(
    "weighting", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in WEIGHTINGS]
)
def test_a_weighted_loss_is_trained_on(weighting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankbench.train.draw", lambda history, path: None)
    words = [f"recipe/weighting={weighting}", *WEIGHTINGS[weighting]]
    assert main(_words(f"weighted-{weighting}", *KINDS["cross_encoder"], *FEW, *words)) == 0
    lines = [json.loads(line) for line in (Path(f"weighted-{weighting}") / "history.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss" in line]
    assert all(line["loss"] is not None and line["weights/mean"] is not None for line in losses)
    if weighting not in ("cet", "cet_released"):
        assert any(line["weights/min"] < line["weights/max"] for line in losses)


def _trained(monkeypatch: pytest.MonkeyPatch, run: str, *words: str) -> dict[tuple[str, str], float]:
    """Train a cross-encoder; what the network in memory says of each query's test candidates before it is saved."""
    import rerankbench.train as flow
    from rerankbench.training import run as stages
    from rerankbench.training.losses.contrastive import LocalizedContrastive
    from rerankbench.training.module import TrainingModule
    from rerankbench.training.sources import candidate_groups

    found: dict[tuple[str, str], float] = {}
    seen: dict[str, Any] = {}
    write, retrieve = stages._write_checkpoint, flow.retrieve

    def note(benchmark: Any, *rest: Any) -> Any:
        seen["benchmark"], seen["first_stage"] = benchmark, (answer := retrieve(benchmark, *rest))[0]
        return answer

    def score(context: Any) -> None:
        groups = candidate_groups(seen["benchmark"], seen["first_stage"], 60)
        module = TrainingModule(context.scorer, LocalizedContrastive(), None, False, 1024, False)
        for group, scores in zip(groups, module.score(groups), strict=True):
            found.update({(group.query.id, d.id): s for d, s in zip(group.documents, scores, strict=True)})
        write(context)

    monkeypatch.setattr(flow, "retrieve", note)
    monkeypatch.setattr(stages, "_write_checkpoint", score)
    monkeypatch.setattr(flow, "draw", lambda history, path: None)
    rate = "recipe.loop.learning_rate=1e-2"
    assert main(_words(run, *KINDS["cross_encoder"], *FEW, rate, "reranker.depth=60", *words)) == 0
    return found


# Stopped and started again


class Killed(BaseException):
    """As if the process had ended here."""


def _stop(monkeypatch: pytest.MonkeyPatch, run: str, words: list[str], when: Callable[[str, int], bool]) -> None:
    """Run until a dev measure is due at (stage, step), as `when` has it."""
    from rerankbench.training.trainer import GroupTrainer

    measure = GroupTrainer.measure_dev

    def measured(self: Any) -> bool:
        if when(Path(self.args.output_dir).name, self.state.global_step):
            raise Killed
        return measure(self)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(GroupTrainer, "measure_dev", measured)
        main(_words(run, *words))
    assert not (Path(run) / "metrics.json").exists()


LONGER = ["recipe.loop.epochs=3", "recipe.loop.batch_groups=16", "recipe.loop.evaluations=6",
          "recipe.loop.learning_rate=3e-3"]  # fmt: skip


def test_a_stopped_training_goes_on_and_nobody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*KINDS["cross_encoder"], *LONGER]
    assert main(_words("undisturbed", *words)) == 0
    steps = _told("undisturbed")["training"]["steps"]
    _stop(monkeypatch, "stopped", words, lambda stage, step: step > steps // 2)
    checkpoints = Path("stopped") / "stages" / "supervised"
    newest = max(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    half = checkpoints / f"checkpoint-{steps - 1}"
    shutil.copytree(newest, half)
    (half / "trainer_state.json").unlink()
    assert main(_words("stopped", *words)) == 0
    _same("stopped", "undisturbed")
    log = (Path("stopped") / "log.txt").read_text()
    assert f"resuming from step {newest.name.rpartition('-')[2]} of {steps}" in log
    assert f"{half.name} is not complete" in log
    histories = [(Path(run) / "history.jsonl").read_text().splitlines() for run in ("stopped", "undisturbed")]
    places = [[(line["step"], "loss" in line) for line in map(json.loads, lines)] for lines in histories]
    assert places[0] == places[1]


def test_a_stopped_second_stage_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages, one after another: the first is not trained again, and its history and the second's stay."""
    monkeypatch.setattr("rerankbench.train.draw", lambda history, path: None)
    again = "recipe.stages={again: {_target_: rerankbench.training.stages.supervised.Supervised}}"
    words = [*KINDS["cross_encoder"], *LONGER, "recipe.loop.epochs=1", again]
    assert main(_words("two-stages", *words)) == 0
    steps = _told("two-stages")["training"]["steps"]
    _stop(monkeypatch, "second-stage", words, lambda stage, step: stage == "again" and step > steps // 2)
    assert main(_words("second-stage", *words)) == 0
    _same("second-stage", "two-stages")
    histories = [(Path(run) / "history.jsonl").read_text().splitlines() for run in ("second-stage", "two-stages")]
    places = [[(line["stage"], line["step"], "loss" in line) for line in map(json.loads, own)] for own in histories]
    assert places[0] == places[1]


@pytest.mark.slow
@pytest.mark.parametrize("patience", ["null", "1"])
def test_a_killed_process_goes_on_and_nobody_can_tell(patience: str) -> None:
    words = [*KINDS["bi_encoder"], *LONGER, "recipe.loop.epochs=12", "recipe.loop.evaluations=24",
             f"recipe.loop.patience={patience}"]  # fmt: skip
    whole, cut = f"whole-{patience}", f"cut-{patience}"
    assert _process(whole, *words).returncode == 0
    command = [sys.executable, "-m", "rerankbench", *_words(cut, *words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        after = 2 if patience == "1" else 30  # of 90 steps, 7 and a half an epoch
        while time.monotonic() < until and process.poll() is None:
            whole_ones = (Path(cut) / "stages" / "supervised").glob("checkpoint-*/trainer_state.json")
            steps = [int(path.parent.name.rpartition("-")[2]) for path in whole_ones]
            if steps and max(steps) >= after:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert not (Path(cut) / "metrics.json").exists(), "killed before its end"
    again = _process(cut, *words)
    assert again.returncode == 0, again.stderr
    assert "resuming from step" in again.stderr
    _same(cut, whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cross_encoder", "bi_encoder"])
def test_two_processes_train_as_one_does(kind: str) -> None:
    words = [*KINDS[kind], *FEW, "model.path=still"]
    assert _process(f"{kind}-1", *words).returncode == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "rerankbench", *_words(f"{kind}-2", *words)],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "RERANKBENCH_DEBUG": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder") == 1
    found = []
    for run in (f"{kind}-1", f"{kind}-2"):
        assert {file.name for file in Path(run).iterdir()} >= FILES
        lines = [json.loads(line) for line in (Path(run) / "history.jsonl").read_text().splitlines()]
        found.append({line["step"]: line["loss"] for line in lines if "loss" in line})
    assert found[1].keys() == {1, 2, 3, 4}
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert _run(f"{kind}-2") == pytest.approx(_run(f"{kind}-1"), abs=1e-3)


# What goes wrong


def _without(name: str, change: Callable[[Path], None]) -> str:
    """A copy of the collection with something wrong."""
    folder = Path(name)
    if not folder.exists():
        shutil.copytree("toy", folder)
        change(folder)
    return name


def _relabelled(split: str, grade: Callable[[int], int]) -> Callable[[Path], None]:
    """All grades of a split changed, by the place of the row."""

    def change(folder: Path) -> None:
        file = folder / "qrels" / f"{split}.tsv"
        head, *rows = file.read_text().splitlines()
        lines = [f"{row.rpartition(chr(9))[0]}\t{grade(i)}" for i, row in enumerate(rows)]
        file.write_text("\n".join([head, *lines]) + "\n")

    return change


def _remove(split: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "qrels" / f"{split}.tsv").unlink()


def _all_relevant(folder: Path) -> None:
    """Every training query has every document for an answer."""
    documents = [json.loads(line)["_id"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line)["_id"] for line in (folder / "queries.jsonl").read_text().splitlines()]
    rows = [f"{q}\t{d}\t1" for q in queries if q.startswith("train") for d in documents]
    (folder / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")


BI, CROSS = KINDS["bi_encoder"], KINDS["cross_encoder"]
WRONG: dict[str, tuple[str, Callable[[Path], None] | None, list[str], list[str]]] = {
    "no train split": ("no-train", _remove("train"), BI, ["recipe.split", "train"]),
    "no dev split": ("no-dev", _remove("dev"), BI, ["recipe.dev_split", "dev_split=null"]),
    "nothing relevant": ("no-positives", _relabelled("train", lambda i: 0), BI, ["positive"]),
    "everything relevant": ("no-negatives", _all_relevant, CROSS, ["negative"]),
    "in-batch cross-encoder": ("toy", None, [*CROSS, "recipe.groups.in_batch=true"], ["groups.in_batch"]),
    "a reranker without a network": ("toy", None, [*BI, "reranker=oracle"], ["reranker"]),
    "identity": ("toy", None, [*BI, "reranker=identity"], ["reranker"]),
    "cascade": ("toy", None, [*BI, "reranker=cascade"], ["reranker"]),
    "train split is test split": ("toy", None, [*BI, "recipe.split=test"], ["recipe.split", "test"]),
    "parts that do not divide": ("toy", None, [*BI, "recipe.loop.accumulation=3"], ["accumulation", "batch_groups"]),
    "targets that match nothing": (
        "toy", None, [*CROSS, "recipe/adaptation=lora", "recipe.adaptation.targets=[quary]"], ["targets", "quary"],
    ),
    "a loss without a teacher": ("toy", None, [*CROSS, "recipe/loss=margin_mse"], ["teacher"]),
    "a far too high rate": ("toy", None, [*CROSS, "recipe.loop.learning_rate=1e30"], ["nan"]),
    "a reranker that the recipe is not for": ("toy", None, [*BI, "reranker=cross_encoder"], ["in_batch"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mistake_is_told_in_one_line(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, change, words, parts = WRONG[wrong]
    collection = _without(name, change) if change is not None else name
    run = f"wrong-{wrong.replace(' ', '-')}"
    code = main(_words(run, *FEW, *words, f"benchmark.path={collection}"))
    shown = capsys.readouterr().err
    assert code == 2, shown
    told = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert shown.splitlines()[-1] == told[0], "it is the last word"
    assert "Traceback" not in shown
    for part in parts:
        assert part in told[0]
    assert not (Path(run) / "metrics.json").exists()


def test_a_weight_that_is_no_number_names_the_queries(capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    path = save(Path("nan"), "BertForSequenceClassification")
    weights = load_file(f"{path}/model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    assert main(_words("nan-run", *CROSS, *FEW, "model.path=nan")) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "nan" in shown.splitlines()[-1]
    assert any(f"{split}{i}" in shown.splitlines()[-1] for split in ("train", "dev", "test") for i in range(12))


def test_a_full_disk_is_told_in_one_line_and_the_training_goes_on_later(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*KINDS["bi_encoder"], *FEW]
    with monkeypatch.context() as patch:
        import rerankbench.models.encoders.saving as saving

        def full(*anything: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(saving, "save_network", full)
        assert main(_words("full", *words)) == 2
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1].startswith("error: ")
    assert "No space left on device" in shown.splitlines()[-1]
    assert not (Path("full") / "checkpoint").exists()
    assert not (Path("full") / ".checkpoint").exists()
    assert main(_words("full", *words)) == 0
    assert main(_words("roomy", *words)) == 0
    _same("full", "roomy")
