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

MODEL = "model@reranker.scorer.model"
PROMPTS = {
    "first_token": "first",
    "group_scores": "grouprank",
    "query_likelihood": "query_likelihood",
    "expected_rating": "expected_rating",
}

GIVEN = {
    "run_file": ["retriever.path=x"],
    "hub": ["model.path=x"],
    "path": ["model.path=x"],
    "vllm": ["model.path=x"],
    "http": ["model.name=x"],
    "reranker=rerank_endpoint": ["model.name=x"],
    "trained": ["reranker.run=x"],
    "recipe/groups/teacher=file": ["recipe.groups.teacher.path=x"],
}
"""What an option cannot do without."""


def _options() -> list[tuple[str, str, Path]]:
    return [(group, name, file) for group, options in groups().items() for name, file in options.items()]


@pytest.mark.parametrize(("group", "name", "file"), _options(), ids=lambda value: str(value).rpartition("/")[2])
def test_every_option_composes(group: str, name: str, file: Path) -> None:
    if group.startswith("experiment/"):  # the files that `experiment=NAME size=SIZE` means
        group, name = "experiment", f"{group.partition('/')[2]}/{name}"
    overrides = [f"{group}={name}", *GIVEN.get(name, []), *GIVEN.get(f"{group}={name}", [])]
    if group.startswith("reranker/"):
        overrides = ["reranker=identity" if name == "identity" else "reranker=oracle", *overrides]
    if group == "reranker/scorer":
        answers = getattr(resolve(str(OmegaConf.load(file)["_target_"]), group).answers, "__name__", "")  # type: ignore[attr-defined]
        overrides.append(f"reranker/strategy={STRATEGIES.get(answers, 'pointwise')}")
        taken = parameters(resolve(str(OmegaConf.load(file)["_target_"]), group))
        model = "http" if name == "rerank_endpoint" else "minilm"
        overrides += [
            f"{short}={option}"
            for short, option in (("model", model), ("prompt", PROMPTS.get(name, "yes_no")))
            if short in taken
        ]
    command = "train" if group.startswith(("recipe", "experiment")) else "eval"
    composed = compose(command, overrides)
    assert composed.choices[group] == name
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
    assert compose("eval", ["reranker=cross_encoder"]).choices[MODEL] == "ms_marco_minilm"
    assert compose("eval", ["reranker=cross_encoder", "model=minilm"]).choices[MODEL] == "minilm"
