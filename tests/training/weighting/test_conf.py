"""Each option of a weighting is the variant that its name promises."""

from __future__ import annotations

import pytest

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.config.options import groups
from rerankbench.training.weighting.cet import CET
from rerankbench.training.weighting.curriculum import Curriculum
from rerankbench.training.weighting.dynamic import LossReweighting
from rerankbench.training.weighting.weighting import Weighting

OPTIONS: dict[str, Weighting | None] = {
    "none": None,
    "cet": CET(seed=3),
    "cet_ipw": CET(variant="ipw", seed=3),
    "cet_released": CET(variant="released", temperature=10.0, clip=None, mean_one=False, seed=3),
    "curriculum_kde": Curriculum(difficulty="kde"),
    "curriculum_normscore": Curriculum(difficulty="normscore"),
    "curriculum_reciprank": Curriculum(difficulty="reciprank"),
    "extremes": LossReweighting(strategy="extremes"),
    "linupper": LossReweighting(strategy="linupper"),
    "quadratic": LossReweighting(strategy="quadratic"),
}


def test_every_option_is_known() -> None:
    assert set(groups()["recipe/weighting"]) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_what_its_name_says(name: str) -> None:
    node = compose("train", [f"recipe/weighting={name}", "seed=3"]).parts["recipe"]["weighting"]
    assert build(node, "recipe.weighting") == OPTIONS[name]
