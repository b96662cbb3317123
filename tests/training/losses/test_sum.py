"""Several losses at once: chosen, weighted and changed by name."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.losses.distillation import KL
from rerankbench.training.losses.pairwise import RankNet
from rerankbench.training.losses.sum import Sum


def _composed(*words: str) -> Any:
    return build(compose("train", ["recipe/loss=sum", *words]).parts["recipe"]["loss"], "recipe.loss")


def test_losses_are_added_removed_and_weighted_by_name() -> None:
    assert _composed() == Sum(losses={"lce": LocalizedContrastive(), "ranknet": RankNet()})
    words = ["recipe/loss@recipe.loss.losses.kl=kl", "recipe.loss.weights.kl=0.5", "~recipe.loss.losses.lce"]
    loss = _composed(*words, "recipe.loss.losses.ranknet.rank_weighted=true")
    assert loss == Sum(losses={"ranknet": RankNet(rank_weighted=True), "kl": KL()}, weights={"kl": 0.5})
    assert loss.components() == {"ranknet": (1.0, RankNet(rank_weighted=True)), "kl": (0.5, KL())}


def test_a_plain_loss_is_its_own_component() -> None:
    assert RankNet().components() == {"loss": (1.0, RankNet())}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["recipe.loss.weights.kl=0.5"], r"weights\.kl: is not one of the losses: lce, ranknet"),
        (["recipe.loss.weights.lce=0"], r"weights\.lce: must be above 0, got 0\.0"),
        (["~recipe.loss.losses.lce", "~recipe.loss.losses.ranknet"], r"losses: must be at least 1 long"),
    ],
)
def test_mistakes_name_their_key(words: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        _composed(*words)
