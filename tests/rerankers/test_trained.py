"""The reranker of a training run: its strategy and scorer as they were, the network in the run's checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.rerankers.cascade import Cascade
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.trained import TARGET, trained
from rerankbench.tracking.config_record import resolved
from tests.models.toy_model import requests, save


def leave(folder: Path, *overrides: str, network: str | None = None) -> Path:
    """A run folder as a training with these overrides leaves it."""
    folder.mkdir(parents=True)
    config = compose("eval", ["reranker=bi_encoder", *overrides]).config
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(resolved(config))))
    if network is not None:
        shutil.copytree(network, folder / "checkpoint")
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [save(tmp_path_factory.mktemp(f"net{seed}"), seed=seed) for seed in (1, 2)]


@pytest.fixture
def run(tmp_path: Path, networks: list[str]) -> Path:
    return leave(tmp_path / "runs" / "first", "reranker.depth=30", network=networks[0])


def composed(*overrides: str) -> Any:
    parts = compose("eval", list(overrides)).parts
    return build(parts["reranker"], "reranker")


def scores(network: str) -> list[float]:
    reranker = composed("reranker=bi_encoder", f"model.path={network}", "model.device=cpu", "model.dtype=float32")
    return list(reranker.scorer.answer(requests(1, 6)))


def test_it_scores_as_its_checkpoint_does(run: Path, networks: list[str]) -> None:
    found = composed("reranker=trained", f"reranker.run={run}", "reranker.dtype=float32", "reranker.device=cpu")
    assert isinstance(found, Reranker)
    assert found.scorer.model.path == str(run / "checkpoint") and found.scorer.model.wheel is None
    assert found.scorer.answer(requests(1, 6)) == scores(networks[0]) != scores(networks[1])


def test_depth_is_the_runs_unless_given(run: Path) -> None:
    assert trained(str(run)).depth == 30
    assert trained(str(run), depth=7).depth == 7
    assert composed("reranker=trained", f"reranker.run={run}", "size=small").depth == 20


def test_dtype_and_device_are_the_runs_unless_given(tmp_path: Path, networks: list[str]) -> None:
    run = leave(tmp_path / "run", "model.dtype=bfloat16", "model.device=cpu", network=networks[0])
    model = trained(str(run)).scorer.model
    assert (model.dtype, model.device) == ("bfloat16", "cpu")
    model = trained(str(run), dtype="float32", device="meta").scorer.model
    assert (model.dtype, model.device) == ("float32", "meta")


def test_another_checkpoint_of_the_run(run: Path, networks: list[str]) -> None:
    shutil.copytree(networks[1], run / "stages" / "0")
    found = trained(str(run), checkpoint="stages/0", dtype="float32", device="cpu")
    assert found.scorer.answer(requests(1, 6)) == scores(networks[1])


def test_the_recorded_revision_and_wheel_are_of_the_untrained_network(tmp_path: Path, networks: list[str]) -> None:
    run = leave(tmp_path / "run", "model=hub", "model.path=some/model", "model.revision=abc", network=networks[0])
    assert trained(str(run)).scorer.model.revision is None


def test_a_training_that_went_on_from_another(run: Path, networks: list[str]) -> None:
    second = leave(run.parent / "second", "reranker=trained", f"reranker.run={run}", network=networks[1])
    found = trained(str(second), dtype="float32", device="cpu")
    assert found.depth == 30 and found.scorer.model.path == str(second / "checkpoint")
    assert found.scorer.answer(requests(1, 6)) == scores(networks[1])
    third = leave(run.parent / "third", "reranker=trained", f"reranker.run={second}", "reranker.depth=3",
                  "reranker.dtype=float32", network=networks[0])  # fmt: skip
    assert trained(str(third)).depth == 3
    assert trained(str(third)).scorer.model.dtype == "float32"


def test_inside_another_reranker(tmp_path: Path, run: Path) -> None:
    (tmp_path / "mine" / "reranker").mkdir(parents=True)
    option = f"""\
# A cascade onto a trained reranker
defaults:
  - /reranker@first: identity
  - /reranker@second: trained
  - _self_
_target_: rerankbench.rerankers.cascade.Cascade
second:
  run: {run}
keep: 10
depth: 50
"""
    (tmp_path / "mine" / "reranker" / "onto_trained.yaml").write_text(option)
    parts = compose("eval", ["reranker=onto_trained"], [tmp_path / "mine"]).parts
    found = build(parts["reranker"], "reranker")
    assert isinstance(found, Cascade) and found.second.scorer.model.path == str(run / "checkpoint")


MINE = """\
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder


class Mine(BiEncoder):
    pass
"""


def test_a_scorer_of_the_users_own_folder(tmp_path: Path, networks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "scorer_of_mine.py").write_text(MINE)
    run = leave(tmp_path / "run", network=networks[0])
    text = (run / "config.yaml").read_text()
    text = text.replace("rerankbench.rerankers.scorers.bi_encoder.BiEncoder", "scorer_of_mine.Mine")
    (run / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"run: .*config\.yaml: reranker\.scorer\._target_: no Python module"):
        trained(str(run))
    monkeypatch.syspath_prepend(str(own))
    with pytest.raises(ConfigError, match="--config-dir"):
        trained(str(run))
    parts = compose("eval", [f"reranker.run={run}", "reranker=trained"], [own]).parts
    assert type(build(parts["reranker"], "reranker", folders=[own]).scorer).__name__ == "Mine"


def test_a_run_folder_is_data_and_calls_nothing_else(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    strategy = "rerankbench.rerankers.strategies.pointwise.ScoreAll"
    assert strategy in text
    (run / "config.yaml").write_text(text.replace(strategy, "os.getcwd"))
    with pytest.raises(ConfigError, match=r"reranker\.strategy\._target_"):
        trained(str(run))


def test_the_run_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"^reranker\.run: must be given: reranker\.run=…"):
        compose("eval", ["reranker=trained"])
    with pytest.raises(ConfigError, match=r"reranker\.stratgy|reranker\.strategy"):
        compose("eval", ["reranker=trained", "reranker.run=x", "+reranker.strategy=x"])


def test_the_option_is_this_function(run: Path) -> None:
    config = compose("eval", ["reranker=trained", f"reranker.run={run}"]).config
    assert config.reranker._target_ == TARGET == f"{trained.__module__}.{trained.__qualname__}"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("frist", r"no such folder: .*frist; did you mean 'first'\?"),
        ("empty", r"no run folder: it has no config\.yaml"),
        ("unfinished", "has no checkpoint/: its training has not finished"),
        ("evaluated", "has no checkpoint/: no training run"),
        ("headless", r"has no reranker in it"),
        ("broken", r"broken/config\.yaml: "),
        ("secret", r"secret/config\.yaml: .*RERANKBENCH_ABSENT"),
        ("identity", "no network that could be trained"),
        ("itself", "names its own folder"),
    ],
)
def test_a_wrong_run_is_one_clear_line(run: Path, wrong: str, problem: str) -> None:
    runs, checkpoint = run.parent, str(run / "checkpoint")
    text = (run / "config.yaml").read_text()
    texts = {
        "unfinished": text,
        "evaluated": text,
        "headless": "seed: 0\n",
        "broken": "a: [",
        "secret": "reranker: {a: '${oc.env:RERANKBENCH_ABSENT}'}\n",
        "identity": "reranker: {_target_: rerankbench.rerankers.reranker.Reranker, scorer: null}\n",
        "itself": f"reranker: {{_target_: {TARGET}, run: {runs / 'itself'}}}\n",
    }
    if wrong != "frist":
        (runs / wrong).mkdir()
    if wrong in texts:
        (runs / wrong / "config.yaml").write_text(texts[wrong])
    if wrong == "evaluated":
        (runs / wrong / "metrics.json").write_text("{}")
    elif wrong != "unfinished" and wrong in texts:
        shutil.copytree(checkpoint, runs / wrong / "checkpoint")
    node = {"_target_": TARGET, "run": str(runs / wrong), "depth": None}
    with pytest.raises(ConfigError, match=problem) as caught:
        build(check(node, "reranker"), "reranker")
    assert caught.value.key == "reranker.run" and "\n" not in str(caught.value)


def test_a_folder_beside_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^run: no such folder: \S+$"):
        trained(str(tmp_path / "nowhere" / "run"))
