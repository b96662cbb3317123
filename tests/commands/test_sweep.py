"""Sweeps: every combination checked first, failures told and not fatal to the others, finished runs skipped."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rerankbench.cli import main
from tests.conftest import rerankbench

BOOM = """\
from dataclasses import dataclass, field
from typing import ClassVar
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.requests import Pointwise
from rerankbench.usage import Usage

@dataclass(kw_only=True)
class Boom(Scorer):
    answers: ClassVar[type] = Pointwise
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests):
        raise RuntimeError("pulled the plug")

    def fingerprint(self):
        return None
"""


def _sweep(tiny: Path, *words: str) -> subprocess.CompletedProcess[str]:
    fixed = ("benchmark=local", f"benchmark.path={tiny}", "tracking=none")
    return rerankbench("eval", "-m", *fixed, *words, cwd=tiny.parent)


def _runs(tiny: Path) -> dict[str, Path]:
    """The reranker's name → run folder."""
    return {folder.name.split("-")[2]: folder for folder in (tiny.parent / "runs" / "sweeps").iterdir()}


def test_a_failing_run_is_told_and_the_others_finish(tiny: Path) -> None:
    mine = tiny.parent / "mine"
    (mine / "reranker").mkdir(parents=True)
    (mine / "boom.py").write_text(BOOM)
    (mine / "reranker" / "boom.yaml").write_text(
        "# Fails, for a test\ndefaults:\n  - strategy: pointwise\n"
        "_target_: rerankbench.rerankers.reranker.Reranker\nscorer:\n  _target_: boom.Boom\n"
    )
    words = ("--config-dir", str(mine), "reranker=identity,boom,oracle")
    done = _sweep(tiny, *words)
    assert done.returncode == 1
    assert "reranker=boom: RuntimeError: pulled the plug" in done.stderr
    runs = _runs(tiny)
    assert {name: (folder / "metrics.json").exists() for name, folder in runs.items()} == {
        "identity": True,
        "boom": False,
        "oracle": True,
    }
    log = (runs["boom"] / "log.txt").read_text()
    assert "Traceback" in log
    assert "RuntimeError: pulled the plug" in log
    assert {path.name for path in (tiny.parent / "runs").iterdir()} <= {"sweeps", ".store", "multirun.yaml"}

    before = {name: (folder / "run.trec").stat().st_mtime_ns for name, folder in runs.items() if name != "boom"}
    (mine / "boom.py").write_text(BOOM.replace('raise RuntimeError("pulled the plug")', "return [0.0] * len(requests)"))
    again = _sweep(tiny, *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("is finished") == 2
    assert _runs(tiny) == runs
    assert all((folder / "metrics.json").exists() for folder in runs.values())
    assert {name: (runs[name] / "run.trec").stat().st_mtime_ns for name in before} == before


def test_a_users_mistake_in_one_run_shows_no_trace(tiny: Path) -> None:
    done = rerankbench(
        "eval", "-m", "benchmark=local", f"benchmark.path=missing,{tiny}", "tracking=none", "reranker=identity",
        cwd=tiny.parent,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: benchmark=local benchmark.path=missing" in done.stderr
    assert "no such file or folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert (_runs(tiny)["identity"] / "metrics.json").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["reranker=identity,orcle"], "reranker: no option 'orcle'; did you mean 'oracle'?"),
        (["reranker=oracle,identity", "reranker.scorer.noise=0,1"], "reranker.scorer.noise: unknown key"),
        (["reranker=identity", "reranker.depth=1,a"], "reranker.depth: must be an integer at least 0 or null, got 'a'"),
        (["reranker=identity,oracle", "reranker.dept=3"], "reranker.dept: unknown key; did you mean 'reranker.depth'?"),
        (["model=minilm,hub"], "reranker.scorer.model.path: must be given"),
        (["reranker=oracle,bi_encoder", "model.dtype=float32"], "model.dtype: the reranker has no model"),
        (["reranker=cascade", "model.dtype=float32,float16"], "model.dtype: there are several; say which: "),
        (["retriever=run_file", "retriever.k=1,2"], "retriever.path: must be given"),
        (["reranker=identity,oracle", "foo"], "cannot read the overrides: "),
    ],
)
def test_a_typing_mistake_costs_one_line_and_no_run(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "-m", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {expected}")
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_must_be_given_may_be_swept_and_a_list_is_one_value(tiny: Path) -> None:
    for name in ("one", "two"):
        (tiny.parent / f"{name}.run").write_text("q1 Q0 d1 1 1.0 x\n")
    done = _sweep(
        tiny, "retriever=run_file", "retriever.path=one.run,two.run", "reranker=identity", "measures.names=[map,p@1]"
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tiny.parent / "runs" / "sweeps").iterdir())) == 2


def test_parts_inside_a_reranker_may_be_swept(tiny: Path) -> None:
    words = ["reranker=cascade", "reranker@reranker.first=identity,oracle", "reranker@reranker.second=identity"]
    done = _sweep(tiny, *words, "reranker.keep=1,2")
    assert done.returncode == 0, done.stderr
    folders = (tiny.parent / "runs" / "sweeps").iterdir()
    text = [(folder / "config.yaml").read_text() for folder in folders]
    assert sorted(("Oracle" in config, "keep: 1" in config) for config in text) == [
        (False, False), (False, True), (True, False), (True, True),
    ]  # fmt: skip


def test_a_dry_run_of_a_sweep_lists_its_runs_and_runs_none(tiny: Path) -> None:
    words = ["-m", "dry_run=true", "reranker=identity,oracle", "benchmark=local", f"benchmark.path={tiny}"]
    done = rerankbench("eval", *words, cwd=tiny.parent)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr
    assert not (tiny.parent / "runs").exists()
    wrong = rerankbench("eval", *words, "measures.names=[ndgc@10]", cwd=tiny.parent)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
