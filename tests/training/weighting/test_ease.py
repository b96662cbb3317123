"""First-stage ease: the published values, documents outside the list, lists that tell nothing apart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.training.groups import batch_of
from rerankbench.training.weighting.ease import Measure, ease
from tests.training.weighting.samples import group, pooled

MEASURES: tuple[Measure, ...] = ("reciprank", "normscore", "kde")


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("reciprank", [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
        ("normscore", [1, 0.75, 0.375, 0.375, 0]),
        ("kde", [0.8578610324, 0.7004810324, 0.4025206903, 0.4025206903, 0.1366165546]),
    ],
)
def test_values(measure: Measure, expected: list[float]) -> None:
    batch = batch_of([group([1, 0, 0, 0, 0], [1, 2, 3, 4, 5])])
    assert ease(batch, measure)[0].tolist() == pytest.approx(expected, abs=1e-7)


def test_kde_is_the_distribution_function_of_scipy() -> None:
    from scipy.stats import gaussian_kde

    run = (7.3, 6.1, 6.0, 2.2, 0.4, -1.0)
    batch = batch_of([group([0] * 6, [1, 2, 3, 4, 5, 6], run)])
    density = gaussian_kde(run)
    expected = [density.integrate_box_1d(-float("inf"), score) for score in run]
    assert ease(batch, "kde")[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_outside_the_list_is_as_hard_as_its_end_at_least_even_with_negative_scores(measure: Measure) -> None:
    for run in ((10.0, 8.0, 2.0), (-0.1, -0.5, -0.9)):
        last, outside = ease(batch_of([group([0, 0], [3, 0], run)]), measure)[0].tolist()
        assert 0 <= outside <= last
    if measure == "reciprank":
        assert outside == pytest.approx(1 / 1000)


@pytest.mark.parametrize("measure", ["normscore", "kde"])
@pytest.mark.parametrize("run", [(), (3.0,), (3.0, 3.0, 3.0)])
def test_a_list_that_tells_nothing_apart_is_halfway(measure: Measure, run: tuple[float, ...]) -> None:
    batch = batch_of([group([1, 0], [1, 0] if run else [0, 0], run)])
    assert ease(batch, measure).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("measure", MEASURES)
def test_candidates_of_other_queries_are_outside_the_list(measure: Measure) -> None:
    own = batch_of([group([1, 0], [1, 3]), group([1, 0], [2, 4])])
    eased = ease(pooled(own), measure)  # [2, 4]: the second query's own candidates stand in columns 2 and 3
    assert torch.equal(torch.stack([eased[0, :2], eased[1, 2:]]), ease(own, measure))
    foreign = torch.cat([eased[0, 2:], eased[1, :2]])
    assert bool((foreign <= ease(batch_of([group([0], [5])]), measure)).all())


@given(
    run=st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=12),
    measure=st.sampled_from(MEASURES),
    data=st.data(),
)
def test_bounds_order_and_padding(run: list[float], measure: Measure, data: st.DataObject) -> None:
    run = sorted(run, reverse=True)
    ranks = data.draw(st.lists(st.integers(0, len(run)), min_size=1, max_size=6))
    alone = ease(batch_of([group([0] * len(ranks), ranks, run)]), measure)
    assert bool(((alone >= 0) & (alone <= 1)).all())
    by_rank = [float(d) for rank, d in sorted(zip(ranks, alone[0], strict=True)) if rank]
    assert by_rank == sorted(by_rank, reverse=True)
    wider = ease(batch_of([group([0] * len(ranks), ranks, run), group([1] + [0] * 8, [1] * 9)]), measure)
    assert torch.equal(wider[0, : len(ranks)], alone[0])
    assert not wider[0, len(ranks) :].any()
