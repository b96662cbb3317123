"""The command line: fast, light, and one clear line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rerankbench.cli import main
from rerankbench.commands.completion import candidates
from tests.conftest import rerankbench

HEAVY = {"torch", "transformers", "mlflow", "hydra", "omegaconf", "numpy", "ranx", "rich"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["ls"], ["_complete", "eval", "reranker="]])
def test_light_commands_import_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from rerankbench.cli import main; main({words!r}); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    loaded = {name.split(".")[0] for name in eval(done.stderr)}
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("reranker=bi_encodr", "reranker: no option 'bi_encodr'; did you mean 'bi_encoder'?"),
        ("reranker.dept=3", "reranker.dept: unknown key; did you mean 'reranker.depth'?"),
        ("+reranker.dept=3", "reranker.dept: unknown key; did you mean 'reranker.depth'?"),
        ("depht=3", "depht: unknown key; did you mean 'reranker.depth'?"),
        ("rerankr=identity", "rerankr: unknown key; did you mean 'reranker'?"),
        ("reranker.depth=abc", "reranker.depth: must be an integer"),
        ("seed=x", "seed: must be an integer at least 0, got 'x'"),
        ("model.dtype=fp32", "reranker.scorer.model.dtype: 'fp32' is not a choice"),
        ("benchmark.queries=0", "benchmark.queries: must be at least 1"),
        ("measures.names=[ndgc@10]", "measures.names: "),
        ("retriever=run_file", "retriever.path: must be given"),
        ("experiment=x", "experiment: no option 'x'"),
        ("foo", "cannot read the override 'foo'"),
        ("--foo", "no option '--foo'"),
        ("retriever._target_=os.system", "retriever._target_: "),
        ("retriever._target_=rerankbench.cli.os", "retriever._target_: rerankbench.cli defines no 'os'"),
        ("retriever._target_=logging.getLogger", "defined neither in rerankbench nor"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    override: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", override]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {expected}") or expected in errors[0]
    assert not (tmp_path / "runs").exists()


def test_a_split_that_does_not_exist_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["eval", "benchmark.split=tst", f"run_dir={tmp_path / 'run'}"]) == 2
    assert "benchmark.split: pydocs has no split 'tst'; did you mean 'test'?" in capsys.readouterr().err


def test_a_strategy_that_asks_nothing_takes_no_scorer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "reranker=identity", "reranker/scorer=oracle"]) == 2
    assert "reranker.scorer: takes no scorer" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evla"]) == 2
    assert "did you mean 'eval'?" in capsys.readouterr().err


def test_train_refuses_a_reranker_without_a_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "reranker=identity", f"run_dir={tmp_path / 'run'}"]) == 2
    assert "no single network that a recipe could train" in capsys.readouterr().err


def test_dry_run_prints_the_configuration_and_writes_nothing(tmp_path: Path) -> None:
    done = rerankbench("eval", "dry_run=true", "reranker=oracle", cwd=tmp_path)
    assert done.returncode == 0
    assert "_target_: rerankbench.rerankers.scorers.oracle.Oracle" in done.stdout
    assert not list(tmp_path.iterdir())


def test_completion_knows_groups_and_options() -> None:
    assert candidates(["ev"]) == ["eval"]
    assert "reranker=" in candidates(["eval", "rer"])
    assert candidates(["eval", "reranker=bi"]) == ["reranker=bi_encoder"]
