"""The one reduction: weights, units, and parts of a step that add up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.training.losses.lambda_rank import LambdaLoss
from rerankbench.training.losses.loss import Loss, expected_count, reduced
from rerankbench.training.losses.pairwise import RankNet
from rerankbench.training.losses.pointwise import MeanSquaredError
from rerankbench.training.losses.softmax import ListNet
from rerankbench.training.scored import Scored, Values
from tests.training.losses.cases import CASES, Case, Lists, lists, one_list

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
GLOBAL = {"mse_global": Case(MeanSquaredError(reduction="global")), "ranknet_global": Case(RankNet(reduction="global"))}


def _part(
    loss: Loss, data: Lists, rows: slice, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum and count of some lists, cut to their own width."""
    mask = data.mask[rows]
    width = int(mask.sum(1).max())
    scores, labels, teacher, mask = (x[rows, :width] for x in (data.scores, data.labels, data.teacher, data.mask))
    values = loss(Scored(scores, labels, mask, teacher))
    if weights is not None:
        weights = weights[rows][(slice(None), *[slice(0, size) for size in values.valid.shape[1:]])]
    return reduced(loss, values, weights)


@pytest.mark.parametrize("case", [*CASES.values(), *GLOBAL.values()], ids=[*CASES, *GLOBAL])
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), cuts=st.sampled_from([(4, 4), (2, 2, 2, 2), (1, 5, 2), (1,) * 8]))
def test_a_step_s_loss_does_not_depend_on_how_it_is_cut(case: Case, seed: int, cuts: tuple[int, ...]) -> None:
    data = lists(seed, sizes=(5, 1, 4, 2, 6, 3, 2, 5))
    shape = case.loss.valid(data.labels, data.mask).shape
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    whole, count = _part(case.loss, data, slice(0, 8), weights)
    total, counted, start = torch.zeros(()), 0, 0
    for size in cuts:
        part, own = _part(case.loss, data, slice(start, start + size), weights)
        total, counted, start = total + part, counted + int(own), start + size
    assert counted == int(count) > 0
    assert (total / counted).item() == pytest.approx((whole / count).item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", [*CASES.values(), *GLOBAL.values()], ids=[*CASES, *GLOBAL])
def test_the_count_is_known_before_the_forward_pass(case: Case) -> None:
    data = lists(5, sizes=(5, 1, 4, 2))
    _, count = _part(case.loss, data, slice(0, 4))
    assert expected_count(case.loss, data.labels, data.mask) == count
    assert count.dtype == torch.int64


def test_the_three_reductions() -> None:
    data = lists(1, sizes=(3, 2))
    labels = torch.tensor([[2.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    values, valid = torch.zeros(2, 3, 3), RankNet().valid(labels, data.mask)
    values[valid] = torch.tensor([1.0, 2.0, 6.0, 10.0])
    given = Values(values, valid)
    assert [float(x) for x in reduced(RankNet(), given)] == [13, 2]
    assert [float(x) for x in reduced(RankNet(reduction="global"), given)] == [19, 4]
    assert [float(x) for x in reduced(LambdaLoss(), given)] == [19, 2]
    assert [float(x) for x in reduced(RankNet(), given, torch.full_like(values, 3.0))] == [39, 2]


def test_weights_count_where_the_values_do_and_nowhere_else() -> None:
    values, valid = torch.tensor([1.0, 5.0, 2.0], requires_grad=True), torch.tensor([True, False, True])
    total, count = reduced(ListNet(), Values(values, valid), torch.tensor([0.5, float("nan"), 2.0]))
    total.backward()
    assert (total.item(), int(count)) == (4.5, 2)
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0, 2]


def test_half_precision_is_summed_in_full() -> None:
    values = torch.full((1, 3000), 1.001, dtype=torch.bfloat16)
    total, _ = reduced(MeanSquaredError(reduction="global"), Values(values, torch.ones(1, 3000, dtype=torch.bool)))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(3000 * float(values[0, 0]))


@every
def test_a_step_without_information_is_zero_over_zero_lists(case: Case) -> None:
    data = one_list([1.0, 2.0], [0.0, 0.0])
    mask = torch.zeros_like(data.mask)
    scores = data.scores.clone().requires_grad_()
    total, count = reduced(case.loss, case.loss(Scored(scores, data.labels, mask, data.teacher)))
    total.backward()
    assert (total.item(), int(count)) == (0, 0)
    assert scores.grad is not None
    assert not scores.grad.any()
