"""What holds for every loss: padding, order and level of the scores, gradients, lists that say nothing, extremes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.losses.cases import CASES, Case, Lists, lists

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
differentiable = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.differentiable],  # surrogates have tests of their own
    ids=[name for name, case in CASES.items() if case.differentiable],
)
seeds = st.integers(0, 10**6)
few = settings(max_examples=10)


@every
@few
@given(seed=seeds)
def test_values_have_the_unit_s_shape_and_are_zero_where_they_do_not_count(case: Case, seed: int) -> None:
    data = lists(seed)
    valid = case.loss.valid(data.labels, data.mask)
    values = data.values(case.loss)
    batch, width = data.mask.shape
    assert (
        values.shape
        == valid.shape
        == {"item": (batch, width), "pair": (batch, width, width), "list": (batch,)}[case.loss.unit]
    )
    assert valid.dtype == torch.bool
    assert valid.reshape(batch, -1).any(1).all()
    assert not values[~valid].any()
    assert values.isfinite().all()


@every
@few
@given(seed=seeds, extra=st.integers(1, 4))
def test_padding_changes_nothing(case: Case, seed: int, extra: int) -> None:
    data = lists(seed)
    batch, width = data.mask.shape
    mask = torch.cat([data.mask, torch.zeros(batch, extra, dtype=torch.bool)], 1)

    def junk(rows: torch.Tensor, worst: float) -> torch.Tensor:
        filled = torch.full(mask.shape, worst, dtype=rows.dtype)
        filled[:, :width] = torch.where(data.mask, rows, worst)
        return filled

    for worst in (1e9, math.inf, math.nan):
        padded = Lists(junk(data.scores, worst), junk(data.labels, 50.0), mask, junk(data.teacher, worst))
        padded.scores.requires_grad_()
        values = padded.values(case.loss)
        torch.testing.assert_close(padded.sums(case.loss), data.sums(case.loss), rtol=1e-12, atol=1e-12)
        assert case.loss.valid(padded.labels, mask).sum() == case.loss.valid(data.labels, data.mask).sum()
        (gradient,) = torch.autograd.grad(values.sum(), padded.scores)
        assert gradient.isfinite().all()
        assert not gradient[~mask].any()


@every
@few
@given(seed=seeds)
def test_the_order_of_candidates_does_not_matter(case: Case, seed: int) -> None:
    data = lists(seed)
    if case.ordered:  # no two labels may tie then, or no two relevant ones
        places = torch.arange(data.mask.shape[1]).double().expand_as(data.labels)
        data = replace(data, labels=(places == 1).double() if case is CASES["lce_first"] else places)
    order = torch.rand(data.mask.shape, generator=torch.Generator().manual_seed(seed + 1)).argsort(1)
    rows = [x.gather(1, order) for x in (data.scores, data.labels, data.mask, data.teacher)]
    shuffled = Lists(*rows)
    torch.testing.assert_close(shuffled.sums(case.loss), data.sums(case.loss), rtol=1e-10, atol=1e-12)
    if case.loss.unit == "item":
        torch.testing.assert_close(shuffled.values(case.loss), data.values(case.loss).gather(1, order))


@every
@few
@given(seed=seeds)
def test_shift_invariance(case: Case, seed: int) -> None:
    data = lists(seed)
    shift = torch.arange(1, len(data.mask) + 1)[:, None] * 3.0
    same = torch.allclose(data.values(case.loss, data.scores + shift), data.values(case.loss), rtol=1e-8, atol=1e-10)
    assert same == case.shift


@differentiable
@settings(max_examples=3)
@given(seed=seeds)
def test_gradients_are_those_of_the_values(case: Case, seed: int) -> None:
    data = lists(seed, sizes=(4, 3, 2))
    scores = data.scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: data.values(case.loss, s), (scores,))


@differentiable
@few
@given(seed=seeds)
def test_a_step_down_the_gradient_lowers_it(case: Case, seed: int) -> None:
    data = lists(seed)
    scores = data.scores.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(data.values(case.loss, scores).sum(), scores)
    if gradient.any():
        fine = 1e-6 / gradient.abs().max()
        assert data.values(case.loss, data.scores - fine * gradient).sum() < data.values(case.loss).sum()


@every
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_tied_labels_are_finite_and_have_no_order(case: Case, label: float) -> None:
    data = lists(7)
    tied = replace(data, labels=label * data.mask.double())
    valid = case.loss.valid(tied.labels, tied.mask)
    scores = tied.scores.clone().requires_grad_()
    values = tied.values(case.loss, scores)
    values.sum().backward()
    assert values.isfinite().all()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert bool(valid.any()) == case.tied
    if not case.tied:
        assert not values.any()
        assert not scores.grad.any()


@every
@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("size", [0, 1])
def test_lists_of_none_and_of_one(case: Case, label: float, size: int) -> None:
    mask = torch.arange(3)[None, :] < torch.tensor([[size]])
    data = Lists(torch.tensor([[2.0, -1.0, 5.0]]), torch.tensor([[label, 1.0, 0.0]]), mask, torch.ones(1, 3))
    valid = case.loss.valid(data.labels, mask)
    scores = data.scores.clone().requires_grad_()
    values = data.values(case.loss, scores)
    values.sum().backward()
    assert values.isfinite().all()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    pointwise = case.loss.unit == "item" and not case.shift and case.tied
    assert int(valid.sum()) == (size if pointwise else 0)
    assert not values[~valid].any()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_scores_stay_finite(case: Case, dtype: torch.dtype) -> None:
    data = lists(3)
    for scores in (1e4 * data.scores.sign(), -1e4 * data.labels.sign(), 1e4 * data.scores / 6):
        leaf = scores.to(dtype).requires_grad_()
        values = replace(data, labels=data.labels.float(), teacher=1e4 * data.teacher.float()).values(case.loss, leaf)
        assert values.dtype == torch.float32
        assert values.isfinite().all()
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        assert not gradient.isnan().any()
