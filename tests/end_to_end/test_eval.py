"""`rerankbench eval` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from rerankbench.tracking.records import RunRecord
from tests.conftest import QUERIES, TEXTS, in_process, rerankbench

FILES = {"config.yaml", "run.trec", "metrics.json", "per_query.csv", "cost.json", "environment.json", "log.txt"}


def _words(tiny: Path, *words: str, run_dir: str = "out") -> list[str]:
    return ["eval", "benchmark=local", f"benchmark.path={tiny}", "tracking=none", f"run_dir={run_dir}", *words]


def _eval(tiny: Path, *words: str, run_dir: str = "out") -> subprocess.CompletedProcess[str]:
    return in_process(*_words(tiny, *words, run_dir=run_dir), cwd=tiny.parent)


def test_the_record_is_complete_and_a_permutation(tiny: Path) -> None:
    done = _eval(tiny, "reranker=oracle")
    assert done.returncode == 0, done.stderr
    assert "ndcg@10" in done.stdout
    assert "out" in done.stdout
    folder = tiny.parent / "out"
    assert {file.name for file in folder.iterdir()} >= FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["schema"], metrics["queries"]) == (1, len(QUERIES))
    assert metrics["measures"]["ndcg@10"]["reranked"] == pytest.approx(1.0)
    assert set(metrics["measures"]["map"]) == {
        "first_stage", "reranked", "difference", "ci95", "p_ttest", "p_randomization",
    }  # fmt: skip
    rows = [line.split() for line in (folder / "run.trec").read_text().splitlines()]
    for query in QUERIES:
        own = [row for row in rows if row[0] == query]
        assert [int(row[3]) for row in own] == list(range(1, len(own) + 1))
        assert all(float(a[4]) > float(b[4]) for a, b in pairwise(own))
        assert {row[2] for row in own} <= TEXTS.keys()
    cost = json.loads((folder / "cost.json").read_text())
    assert {"requests", "forward_passes", "prompt_tokens", "generated_tokens", "cache_hits", "parse_failures"} <= set(
        cost
    )
    assert {"retrieve", "rerank", "measure", "total"} <= set(cost["seconds"])


def test_two_processes_write_the_same_run_to_the_byte(tiny: Path) -> None:
    words = ("reranker=oracle", "reranker.scorer.noise=0.5")
    for name in ("one", "two"):
        done = rerankbench(*_words(tiny, *words, f"store.dir={name}-store", run_dir=name), cwd=tiny.parent)
        assert done.returncode == 0, done.stderr
    for file in ("run.trec", "metrics.json", "per_query.csv"):
        assert (tiny.parent / "one" / file).read_bytes() == (tiny.parent / "two" / file).read_bytes()


def test_a_finished_run_is_not_run_again_and_another_is_refused(tiny: Path) -> None:
    assert _eval(tiny, "reranker=oracle").returncode == 0
    run = tiny.parent / "out" / "run.trec"
    before = run.stat().st_mtime_ns
    again = _eval(tiny, "reranker=oracle")
    assert again.returncode == 0
    assert "ndcg@10" in again.stdout
    assert run.stat().st_mtime_ns == before
    other = _eval(tiny, "reranker=oracle", "reranker.depth=1")
    assert other.returncode == 2
    assert "reranker.depth" in other.stderr
    assert run.stat().st_mtime_ns == before
    forced = _eval(tiny, "reranker=oracle", "reranker.depth=1", "force=true")
    assert forced.returncode == 0, forced.stderr
    assert run.stat().st_mtime_ns > before


HEAVY = {"torch", "transformers", "mlflow", "numpy", "ranx", "numba", "bm25s"}


def _loaded(words: list[str], cwd: Path) -> set[str]:
    """The packages and rerankbench's modules in memory after the command."""
    code = f"import sys; from rerankbench.cli import main; assert main({words!r}) == 0; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()} | set(done.stdout.split())


@pytest.mark.parametrize("tracking", ["none", "mlflow"])
def test_a_finished_run_answers_before_anything_is_loaded(tiny: Path, tracking: str) -> None:
    words = ["eval", "benchmark=local", f"benchmark.path={tiny}", f"tracking={tracking}", "reranker=identity",
             "run_dir=out"]  # fmt: skip
    assert in_process(*words, cwd=tiny.parent).returncode == 0
    shutil.rmtree(tiny)
    assert not HEAVY & _loaded(words, tiny.parent)


def test_a_mistake_in_the_benchmark_leaves_no_folder(tiny: Path) -> None:
    done = _eval(tiny, "reranker=identity", f"benchmark.path={tiny}x")
    assert done.returncode == 2
    assert not (tiny.parent / "out").exists()
    assert _eval(tiny, "reranker=identity", f"benchmark.path={tiny}").returncode == 0


def test_analyses_and_perturbations_are_recorded(tiny: Path) -> None:
    words = ("reranker=oracle", "analysis=win_loss", "analysis.win_loss.queries=2", "perturbation=[query_typos]",
             "perturbation.query_typos.rate=0.5")  # fmt: skip
    shown = _eval(tiny, *words, "dry_run=true").stdout
    assert "QueryTypos" in shown and "WinLoss" in shown
    done = _eval(tiny, *words)
    assert done.returncode == 0, done.stderr
    assert "tiny+query_typos test: 3 queries" in done.stdout and "win_loss: wins" in done.stdout
    record = RunRecord.read(tiny.parent / "out")
    figures = record.analyses["win_loss"].figures
    assert sum(figures.values()) == 3 and len(record.analyses["win_loss"].rows) == 2  # type: ignore[arg-type]
    assert record.config["perturbation"]["query_typos"]["rate"] == 0.5
    assert record.environment.benchmark["name"] == "tiny+query_typos"
    assert record.environment.benchmark["description"]["perturbations"] == ["query_typos"]
    assert _eval(tiny, "reranker=oracle", run_dir="plain").returncode == 0
    plain = RunRecord.read(tiny.parent / "plain")
    assert plain.environment.benchmark["fingerprint"] != record.environment.benchmark["fingerprint"]
    assert len(list((tiny.parent / "runs" / ".store" / "runs").glob("*.json"))) == 2
    wrong = _eval(tiny, *words, "perturbation.query_typos.rate=2", run_dir="x")
    assert wrong.returncode == 2 and "perturbation.query_typos.rate: must be at most 1" in wrong.stderr


def test_measures_of_ones_own_are_one_python_file_and_one_yaml(tiny: Path) -> None:
    mine = tiny.parent / "mine"
    (mine / "measures").mkdir(parents=True)
    (mine / "top_grade.py").write_text(
        "from dataclasses import dataclass\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class TopGrade:\n"
        "    scale: float = 1.0\n\n"
        "    def __call__(self, ranking, grades, threshold):\n"
        "        return self.scale * grades.get(ranking[0], 0) if ranking else 0.0\n"
    )
    (mine / "measures" / "graded.yaml").write_text(
        "# The grade of the first document, for a test\n"
        "names: [ndcg@10, top_grade]\n"
        "own:\n  top_grade:\n    _target_: top_grade.TopGrade\n"
    )
    words = ("--config-dir", str(mine), "measures=graded", "reranker=oracle", "measures.own.top_grade.scale=2")
    done = _eval(tiny, *words)
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tiny.parent / "out")
    assert record.metrics.measures["top_grade"].after == pytest.approx(2 * (2 + 1 + 1) / 3)
    assert {values.measure for values in record.per_query} == {"ndcg@10", "top_grade"}
    wrong = _eval(tiny, *words, "measures.names=[top_garde]", run_dir="x")
    assert wrong.returncode == 2 and "did you mean 'top_grade'?" in wrong.stderr
    wrong = _eval(tiny, *words, "measures.own.top_grade.scael=1", run_dir="x")
    assert wrong.returncode == 2 and "did you mean 'measures.own.top_grade.scale'?" in wrong.stderr


def test_no_tracking_imports_no_mlflow_and_identity_no_torch(tiny: Path) -> None:
    words = ["eval", "benchmark=local", f"benchmark.path={tiny}", "tracking=none", "reranker=identity"]
    assert not {"mlflow", "torch", "transformers"} & _loaded(words, tiny.parent)


def test_a_method_is_one_python_file_and_one_yaml_in_a_folder_of_ones_own(tiny: Path) -> None:
    mine = tiny.parent / "mine"
    (mine / "reranker").mkdir(parents=True)
    (mine / "shortest.py").write_text(
        "from dataclasses import dataclass, field\n"
        "from typing import ClassVar\n"
        "from rerankbench.rerankers.requests import Pointwise\n"
        "from rerankbench.rerankers.scorer import Scorer\n"
        "from rerankbench.usage import Usage\n\n"
        "@dataclass(kw_only=True)\n"
        "class Shortest(Scorer):\n"
        "    answers: ClassVar[type] = Pointwise\n"
        "    weight: float = 1.0\n"
        "    usage: Usage = field(init=False, default_factory=Usage)\n\n"
        "    def answer(self, requests):\n"
        "        return [-self.weight * len(r.candidate.document.text) for r in requests]\n\n"
        "    def fingerprint(self):\n"
        "        return None\n"
    )
    (mine / "reranker" / "shortest.yaml").write_text(
        "# Shorter documents first, for a test\n"
        "defaults:\n  - strategy: pointwise\n"
        "_target_: rerankbench.rerankers.reranker.Reranker\n"
        "depth: null\n"
        "scorer:\n  _target_: shortest.Shortest\n  weight: 1.0\n"
    )
    done = _eval(tiny, "--config-dir", str(mine), "reranker=shortest")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in (tiny.parent / "out" / "run.trec").read_text().splitlines()]
    lengths = [len(TEXTS[row[2]]) for row in rows if row[0] == "q1"]
    assert lengths == sorted(lengths)
    assert len(lengths) > 1
    typo = _eval(tiny, "--config-dir", str(mine), "reranker=shortest", "reranker.scorer.wieght=2", run_dir="x")
    assert typo.returncode == 2
    assert "did you mean 'reranker.scorer.weight'?" in typo.stderr
    assert "Shorter documents first" in in_process("ls", "reranker", "--config-dir", str(mine), cwd=tiny.parent).stdout


def test_a_folder_in_use_is_refused(tiny: Path) -> None:
    from filelock import FileLock

    folder = tiny.parent / "out"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        done = rerankbench(*_words(tiny, "reranker=oracle"), cwd=tiny.parent)
    assert done.returncode == 2
    assert "run_dir: " in done.stderr


def test_a_sweep_runs_every_combination(tiny: Path) -> None:
    words = ["eval", "-m", "benchmark=local", f"benchmark.path={tiny}", "tracking=none", "reranker=identity,oracle"]
    done = in_process(*words, cwd=tiny.parent)
    assert done.returncode == 0, done.stderr
    folders = list((tiny.parent / "runs" / "sweeps").iterdir())
    assert len(folders) == 2
    assert all((folder / "metrics.json").is_file() for folder in folders)


def test_an_interrupt_ends_with_130(tiny: Path) -> None:
    words = ["eval", "benchmark=local", f"benchmark.path={tiny}", "tracking=none", "--config-dir", "slow"]
    slow = tiny.parent / "slow"
    (slow / "retriever").mkdir(parents=True)
    (slow / "sleeper.py").write_text(
        "import time\nfrom dataclasses import dataclass\n\n@dataclass\nclass Sleeper:\n"
        "    def retrieve(self, benchmark, store):\n        open('asleep', 'w').close()\n        time.sleep(60)\n\n"
        "    def fingerprint(self):\n        return 'x'\n"
    )
    (slow / "retriever" / "sleeper.yaml").write_text("# Sleeps, for a test\n_target_: sleeper.Sleeper\n")
    command = [sys.executable, "-m", "rerankbench", *words, "retriever=sleeper", "reranker=identity"]
    # A shell's background jobs, and all they start, ignore interrupts.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=tiny.parent, stderr=subprocess.PIPE, text=True, preexec_fn=heeding) as process:
        until = time.monotonic() + 60
        while not (tiny.parent / "asleep").exists() and time.monotonic() < until:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr is not None
        assert "interrupted" in process.stderr.read()
