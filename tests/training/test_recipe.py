"""A recipe's options are checked, and every recipe can be composed and names what its stages refer to."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.training.recipe import Recipe
from rerankbench.training.stages.supervised import Supervised
from tests.conftest import ROOT

RECIPES = sorted(file.stem for file in (ROOT / "conf" / "recipe").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_override_of_a_short_name_reaches_every_stage(recipe: str) -> None:
    composed = compose("train", [f"recipe={recipe}", "recipe.loop.learning_rate=0.125"])
    built: Recipe = build(composed.parts["recipe"], "recipe")
    stages = [stage for stage in built.stages if isinstance(stage, Supervised)]
    assert stages
    assert all(stage.loop.learning_rate == 0.125 for stage in stages)
    assert all(stage.loss == built.loss and stage.groups == built.groups for stage in stages)


@pytest.mark.parametrize(
    ("options", "key"),
    [({"stages": []}, "stages"), ({"dev_queries": -1}, "dev_queries"), ({"depth": 0}, "dev_queries"),
     ({"weight": -0.5}, "dev_queries")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, Any], key: str) -> None:
    given: dict[str, Any] = {"stages": [object()], **options}
    with pytest.raises(ConfigError) as caught:
        Recipe(**given)
    assert caught.value.key == key
