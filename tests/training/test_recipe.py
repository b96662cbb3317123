"""A recipe's options are checked, and every recipe can be composed and gives its parts to every stage."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.training.adaptation.bottleneck import Bottleneck
from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.losses.pairwise import RankNet
from rerankbench.training.recipe import Recipe
from rerankbench.training.sampling import GroupOptions
from rerankbench.training.stages.supervised import Supervised
from tests.conftest import ROOT

RECIPES = sorted(file.stem for file in (ROOT / "conf" / "recipe").glob("*.yaml"))


def _recipe(*words: str) -> Recipe:
    built: Recipe = build(compose("train", list(words)).parts["recipe"], "recipe")
    return built


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_override_of_a_short_name_reaches_every_stage(recipe: str) -> None:
    words = ["recipe.loop.learning_rate=0.125", "recipe/groups=mixed", "recipe.groups.size=8", "recipe/loss=ranknet"]
    built = _recipe(f"recipe={recipe}", *words)
    stages = [stage for stage in built.stages.values() if isinstance(stage, Supervised)]
    assert stages
    assert all(stage.loop.learning_rate == 0.125 for stage in stages)
    assert all(stage.loss == built.loss and stage.groups == built.groups for stage in stages)
    assert built.groups.size == 8 and isinstance(built.loss, RankNet)


def test_a_stage_is_overridden_by_its_name() -> None:
    words = ["recipe=sequence", "recipe.stages.second.loop.learning_rate=1e-6", "recipe.loop.epochs=4"]
    stages = _recipe(*words, "recipe/loss@recipe.stages.second.loss=lce").stages
    first, second = (stage for stage in stages.values() if isinstance(stage, Supervised))
    assert list(stages) == ["first", "second"]
    assert (first.loop.learning_rate, second.loop.learning_rate) == (5e-4, 1e-6)
    assert first.loop.epochs == second.loop.epochs == 4
    assert isinstance(second.loss, LocalizedContrastive) and first.loss != second.loss
    with pytest.raises(ConfigError, match=r"^recipe\.stages\.second\.loop\.pace: unknown key"):
        compose("train", ["recipe=sequence", "recipe.stages.second.loop.pace=1"])


def _stage(**options: Any) -> Supervised:
    return Supervised(groups=GroupOptions(), loss=RankNet(), **options)


@pytest.mark.parametrize(
    ("options", "key"),
    [({"stages": {}}, "stages"), ({"dev_queries": -1}, "dev_queries"), ({"depth": 0}, "depth"),
     ({"weight": -0.5}, "weight"), ({"stages": {"../x": _stage()}}, "stages")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, Any], key: str) -> None:
    given = {"_target_": Recipe, "stages": {"only": _stage()}} | options
    stages = given.pop("stages")
    with pytest.raises(ConfigError) as caught:
        build(check(given | {"stages": {}}, "recipe") | {"stages": stages}, "recipe")
    assert caught.value.key == f"recipe.{key}"


def test_base_adapters_are_those_of_an_earlier_stage() -> None:
    with pytest.raises(ConfigError, match=r"^stages\.a\.adaptation\.base_adapters: 'b' is no earlier stage"):
        Recipe(stages={"a": _stage(adaptation=Bottleneck(base_adapters=["b"])), "b": _stage()})
    with pytest.raises(ConfigError, match=r"^stages\.a\.adaptation: leaves adapters in the network, which b cannot"):
        Recipe(stages={"a": _stage(adaptation=Bottleneck()), "b": _stage()})
    Recipe(stages={"a": _stage(), "b": _stage(adaptation=Bottleneck(base_adapters=["elsewhere"]))})
