"""The option files of losses: each class has one, and each is built as the check leaves it."""

from __future__ import annotations

import pytest

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.config.options import groups
from rerankbench.training.losses.lambda_rank import LambdaLoss
from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.sum import Sum
from tests.training.losses.cases import CASES


@pytest.fixture(scope="module")
def losses() -> dict[str, Loss]:
    names = groups()["recipe/loss"]
    return {name: build(compose("train", [f"recipe/loss={name}"]).parts["recipe"]["loss"], "loss") for name in names}


def test_every_loss_has_a_file(losses: dict[str, Loss]) -> None:
    assert {type(loss) for loss in losses.values()} == {type(case.loss) for case in CASES.values()} | {Sum}


def test_every_scheme_of_the_lambda_loss_has_a_file(losses: dict[str, Loss]) -> None:
    schemes = {name: loss.scheme for name, loss in losses.items() if isinstance(loss, LambdaLoss)}
    assert set(schemes) == set(schemes.values()) == {"lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp"}
