"""Weight and direction of a gradient, put together from two losses."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.pointwise import BinaryCrossEntropy
from rerankbench.training.losses.softmax import SoftmaxCrossEntropy
from rerankbench.training.losses.unified import Unified, gradient_parts
from tests.training.losses.cases import Lists, lists


def _gradient(loss: Loss, data: Lists) -> torch.Tensor:
    scores = data.scores.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(data.values(loss, scores).sum(), scores)
    return gradient


def _binary(seed: int, single: bool = False) -> Lists:
    data = lists(seed)
    labels = (data.labels > 0).double()
    if single:
        labels = torch.zeros_like(labels)
        labels[:, 1] = 1.0
    return Lists(data.scores, labels, data.mask, data.teacher)


@given(seed=st.integers(0, 10**6))
def test_the_diagonal_is_the_two_losses(seed: int) -> None:
    data = _binary(seed)
    contrastive = Unified(weight="contrastive", direction="contrastive")
    torch.testing.assert_close(_gradient(Unified(), data), _gradient(BinaryCrossEntropy(), data), rtol=0, atol=1e-12)
    expected = _gradient(SoftmaxCrossEntropy(), data)
    torch.testing.assert_close(_gradient(contrastive, data), expected, rtol=0, atol=1e-12)
    single = _binary(seed, single=True)
    expected = _gradient(LocalizedContrastive(), single)
    torch.testing.assert_close(_gradient(contrastive, single), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", ["sft", "contrastive", "uniform"])
@pytest.mark.parametrize("direction", ["sft", "contrastive"])
def test_the_gradient_is_weight_times_direction(
    weight: Literal["sft", "contrastive", "uniform"], direction: Literal["sft", "contrastive"]
) -> None:
    data = _binary(4)
    pull = gradient_parts(data.scores, data.labels, data.mask, direction)[1]
    if weight != "uniform":
        pull = pull * gradient_parts(data.scores, data.labels, data.mask, weight)[0]
    assert torch.equal(_gradient(Unified(weight=weight, direction=direction), data), pull)


@given(seed=st.integers(0, 10**6))
def test_parts(seed: int) -> None:
    data = _binary(seed)
    for kind in ("sft", "contrastive"):
        weight, direction = gradient_parts(data.scores, data.labels, data.mask, kind)
        assert ((weight >= 0) & (weight <= 1)).all()
        assert torch.equal(direction.abs(), data.mask.double())
        assert not weight[~data.mask].any()
        assert (direction[(data.labels == 0) & data.mask] == 1).all()
    torch.testing.assert_close((weight * direction).sum(1), torch.zeros(len(weight), dtype=torch.float64))


def test_contrastive_pushes_down_a_relevant_one_with_more_than_its_share() -> None:
    scores, labels, mask = torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]), torch.ones(1, 3).bool()
    assert gradient_parts(scores, labels, mask, "contrastive")[1].tolist() == [[1, -1, 1]]
    assert gradient_parts(scores, labels, mask, "sft")[1].tolist() == [[-1, -1, 1]]


def test_saturated_scores_keep_their_direction() -> None:
    scores, labels, mask = torch.tensor([[1e4, -1e4]]), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2).bool()
    for kind in ("sft", "contrastive"):
        assert gradient_parts(scores, labels, mask, kind)[1].tolist() == [[-1, 1]]


def test_grades_below_the_threshold_are_not_relevant() -> None:
    data = lists(2)
    strict = Unified(threshold=2.0)
    expected = _gradient(BinaryCrossEntropy(threshold=2.0), data)
    torch.testing.assert_close(_gradient(strict, data), expected, rtol=0, atol=1e-12)
