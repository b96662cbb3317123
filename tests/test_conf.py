"""Every option file composes, and says in its first comment line what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rerankbench.config.compose import compose
from rerankbench.config.options import conf_folder, description, groups
from rerankbench.config.signature import parameters
from rerankbench.config.targets import resolve

STRATEGIES = {"Pairwise": "allpairs", "Setwise": "setwise_heapsort", "Listwise": "one_shot", "Groupwise": "groups"}
"""A strategy for each kind of scorer; those that answer other requests are asked pointwise."""

PROMPTS = {
    "first_token": "first",
    "group_scores": "grouprank",
    "query_likelihood": "query_likelihood",
    "expected_rating": "expected_rating",
}
"""A prompt for each scorer that asks with no other."""

GIVEN = {
    "run_file": ["retriever.path=x"],
    "hub": ["model.path=x"],
    "path": ["model.path=x"],
    "vllm": ["model.path=x"],
    "http": ["model.name=x"],
    "rerank_endpoint": ["model.name=x"],
    "recipe/groups/teacher=file": ["recipe.groups.teacher.path=x"],
}
"""What an option cannot do without."""

RUN = """\
reranker:
  _target_: rerankbench.rerankers.reranker.Reranker
  strategy: {_target_: rerankbench.rerankers.strategies.pointwise.ScoreAll}
  scorer:
    _target_: rerankbench.rerankers.scorers.bi_encoder.BiEncoder
    model: {_target_: rerankbench.models.model.Model, path: x}
"""


def _options() -> list[tuple[str, str, Path]]:
    return [(group, name, file) for group, options in groups().items() for name, file in options.items()]


def _around(group: str, name: str, file: Path) -> tuple[list[str], str]:
    """What to choose besides an option for it to be of use, and the key by which it is recorded."""
    if group == "model":
        return [f"reranker={'yes_no' if name in ('http', 'vllm') else 'bi_encoder'}"], "model@reranker.scorer.model"
    if group == "prompt":
        asking = [n for n, f in groups()["reranker"].items() if f"scorer.prompt: {name}\n" in f.read_text("utf-8")]
        return [f"reranker={[*asking, 'rankgpt'][0]}"], "prompt@reranker.scorer.prompt"
    if group.startswith("recipe/groups/teacher"):
        return ["recipe=cross_encoder"], group
    if group == "reranker/scorer":
        target = resolve(str(OmegaConf.load(file)["_target_"]), group)  # type: ignore[index]
        strategy = STRATEGIES.get(getattr(target.answers, "__name__", ""), "pointwise")  # type: ignore[attr-defined]
        parts = {"model": "http" if name == "rerank_endpoint" else "minilm", "prompt": PROMPTS.get(name, "yes_no")}
        brought = [f"{part}={option}" for part, option in parts.items() if part in parameters(target)]
        return ["reranker=oracle", f"reranker/strategy={strategy}", *brought], group
    if group.startswith("reranker/"):
        return [f"reranker={'identity' if name == 'identity' else 'oracle'}"], group
    return [], group


@pytest.mark.parametrize(("group", "name", "file"), _options(), ids=lambda value: str(value).rpartition("/")[2])
def test_every_option_composes(group: str, name: str, file: Path, tmp_path: Path) -> None:
    if group.startswith("experiment/"):  # the files that `experiment=NAME size=SIZE` means
        group, name = "experiment", f"{group.partition('/')[2]}/{name}"
    around, key = _around(group, name, file)
    overrides = [*around, f"{group}={name}", *GIVEN.get(name, []), *GIVEN.get(f"{group}={name}", [])]
    if name == "trained":
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "config.yaml").write_text(RUN)
        overrides.append(f"reranker.run={tmp_path}")
    command = "train" if group.startswith(("recipe", "experiment")) else "eval"
    composed = compose(command, overrides)
    assert composed.choices[key] == name
    assert composed.parts


@pytest.mark.parametrize("file", sorted(conf_folder().rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_file_says_what_it_is(file: Path) -> None:
    assert len(description(file)) > 15
    lines = file.read_text(encoding="utf-8").splitlines()
    package = [number for number, line in enumerate(lines) if line.startswith("# @package")]
    assert package in ([], [0]), "Hydra reads the package line only on top"


@pytest.mark.parametrize("command", ["eval", "train"])
def test_the_primary_configurations_compose(command: str) -> None:
    assert compose(command, []).config.seed == 0


def test_a_size_may_set_values_and_the_command_line_still_wins() -> None:
    config = compose("eval", ["size=small", "reranker.depth=7"]).config
    assert (config.benchmark.queries, config.reranker.depth) == (50, 7)


def test_a_reranker_may_bring_its_model_and_the_command_line_still_wins() -> None:
    assert compose("eval", ["reranker=cross_encoder"]).choices["model@reranker.scorer.model"] == "ms_marco_minilm"
    assert (
        compose("eval", ["reranker=cross_encoder", "model=minilm"]).choices["model@reranker.scorer.model"] == "minilm"
    )
