"""Reweighting by losses: the closed forms, what a sample is, and one batch over several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.training.groups import Batch, batch_of
from rerankbench.training.scored import Unit, Values
from rerankbench.training.weighting.dynamic import AppliedReweighting, LossReweighting
from tests.training.weighting.samples import group, losses, scored

STRATEGIES = ("linupper", "quadratic", "extremes", "upper")
LOSSES = [0.0, 1.0, 2.0, 4.0]


def _batch(sizes: list[int]) -> Batch:
    return batch_of([group([1] + [0] * (size - 1), [1] * size) for size in sizes])


def _weights(weighting: LossReweighting | AppliedReweighting, values: Values, progress: float = 1.0) -> torch.Tensor:
    applied = weighting.begin() if isinstance(weighting, LossReweighting) else weighting
    batch = _batch([2] * len(values.valid))
    return applied.weights(scored(batch, batch.labels, progress), values)


def _list_weights(
    weighting: LossReweighting | AppliedReweighting, values: list[float], progress: float = 1.0
) -> list[float]:
    """Weights of lists with these losses, over their number: they sum to 1."""
    given = Values(torch.tensor(values, dtype=torch.float64), torch.ones(len(values), dtype=torch.bool))
    return (_weights(weighting, given, progress) / len(values)).tolist()


@pytest.mark.parametrize(
    ("strategy", "r", "expected"),
    [
        ("linupper", 1.0, [0.12368148, 0.20391629, 0.33620112, 0.33620112]),
        ("quadratic", 1.0, [0.14629975, 0.30971657, 0.39768394, 0.14629975]),
        ("extremes", 1.0, [0.33620112, 0.20391629, 0.12368148, 0.33620112]),
        ("upper", 1.0, [0.15035269, 0.19305667, 0.24788967, 0.40870097]),
        ("linupper", 0.5, [0.05406459, 0.14696280, 0.39948630, 0.39948630]),
    ],
)
def test_values(strategy: Any, r: float, expected: list[float]) -> None:
    weighting = LossReweighting(strategy=strategy, r_start=r, r_end=r)
    assert _list_weights(weighting, LOSSES) == pytest.approx(expected, abs=1e-8)


@given(
    values=st.lists(st.floats(0, 50), min_size=1, max_size=8),
    strategy=st.sampled_from(STRATEGIES),
    r=st.floats(1e-3, 1e3),
    factor=st.floats(0.1, 10),
    shift=st.floats(-5, 5),
)
def test_a_distribution_that_scale_and_level_of_the_losses_do_not_change(
    values: list[float], strategy: Any, r: float, factor: float, shift: float
) -> None:
    weighting = LossReweighting(strategy=strategy, r_start=r, r_end=r)
    weights = _list_weights(weighting, values)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    if max(values) - min(values) > 0.1:
        other = _list_weights(weighting, [factor * value + shift for value in values])
        assert other == pytest.approx(weights, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("values", [[3.7], [2.0, 2.0, 2.0], [1.0, 1.0 + 1e-7]])
def test_uniform_where_there_is_nothing_to_compare(strategy: Any, values: list[float]) -> None:
    assert _list_weights(LossReweighting(strategy=strategy), values) == [1 / len(values)] * len(values)


def test_burn_in_then_temperatures_from_start_to_end() -> None:
    weighting = LossReweighting(r_start=100, r_end=1, burn_in=0.2).begin()
    assert _list_weights(weighting, LOSSES, 0.19) == [0.25] * 4
    for progress, r in ((0.2, 100), (0.6, 10), (1.0, 1)):
        constant = LossReweighting(r_start=r, r_end=r, burn_in=0)
        assert _list_weights(weighting, LOSSES, progress) == pytest.approx(_list_weights(constant, LOSSES))
        assert weighting.report() == {"samples": 4, "temperature": pytest.approx(r)}
    assert _list_weights(weighting, LOSSES, 0.2) == pytest.approx([0.25] * 4, abs=0.01)


def test_items_are_samples_of_the_whole_batch() -> None:
    batch = _batch([3, 1])
    values = torch.tensor([[0.0, 1.0, 4.0], [2.0, 9.0, 9.0]])  # the last two are padding
    weights = _weights(LossReweighting(), Values(values, batch.mask))
    expected = _weights(LossReweighting(), Values(torch.tensor(LOSSES), torch.ones(4) > 0))
    assert torch.equal(weights[batch.mask], expected[[0, 1, 3, 2]])
    assert not weights[~batch.mask].any()


def test_pairs_of_a_group_share_the_weight_of_their_mean() -> None:
    batch = _batch([3, 2, 2, 3])
    valid = losses(batch, batch.labels, "pair").valid
    values = torch.full(valid.shape, 99.0).masked_fill(~valid, float("nan"))
    for row, level in enumerate(LOSSES):
        values[row][valid[row]] = level
    values[0, 0, 1:] = torch.tensor([-1.0, 1.0])
    weights = _weights(LossReweighting(), Values(values, valid))
    expected = _list_weights(LossReweighting(), LOSSES)
    for row in range(4):
        assert weights[row][valid[row]].tolist() == pytest.approx([4 * expected[row]] * int(valid[row].sum()))
    assert not weights[~valid].any()


@pytest.mark.parametrize("unit", ["item", "pair", "list"])
def test_what_is_not_valid_neither_counts_nor_sways(unit: Unit) -> None:
    batch = _batch([3, 2, 1])
    values = losses(batch, torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]), unit)
    junk = Values(values.values.masked_fill(~values.valid, 1e6), values.valid)
    weighting = LossReweighting(strategy="extremes")
    clean = _weights(weighting, values)
    assert torch.equal(_weights(weighting, junk), clean)
    assert clean.shape == values.valid.shape
    assert not _weights(weighting, Values(values.values, values.valid & False)).any()


COUNTED = ([True, True, True, True], [True, True, False, False])


def _half(rank: int, folder: str) -> None:
    """One of two processes with half of the losses."""
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mine = slice(2 * rank, 2 * rank + 2)
    weights = [
        _weights(LossReweighting(), Values(torch.tensor(LOSSES)[mine], torch.tensor(counted)[mine]))
        for counted in COUNTED
    ]
    torch.save(torch.stack(weights), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_weigh_their_losses_as_one_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_half, (str(tmp_path),), nprocs=2)
    apart = torch.cat([torch.load(tmp_path / f"{rank}.pt") for rank in range(2)], dim=1)
    for row, counted in zip(apart, COUNTED, strict=True):
        valid = torch.tensor(counted)
        together = _weights(LossReweighting(), Values(torch.tensor(LOSSES), valid))
        assert torch.allclose(row, together)
        assert float(row.sum()) == pytest.approx(sum(counted))


@pytest.mark.parametrize(("field", "value"), [("r_start", 0.0), ("r_end", -1.0), ("burn_in", 1.0)])
def test_values_out_of_bounds_are_refused(field: str, value: float) -> None:
    target = "rerankbench.training.weighting.dynamic.LossReweighting"
    with pytest.raises(ConfigError, match=r"must be (above 0|below 1)") as error:
        check({"_target_": target, field: value}, "weighting")
    assert error.value.key == f"weighting.{field}"
