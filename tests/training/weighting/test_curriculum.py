"""Curricula: D of each unit, the way to 1, and what the paper's code does instead."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.training.groups import batch_of
from rerankbench.training.scored import Unit
from rerankbench.training.weighting.curriculum import Curriculum
from tests.training.weighting.samples import RUN, group, losses, scored

UNITS: tuple[Unit, ...] = ("item", "pair", "list")
DIFFICULTIES: tuple[Literal["reciprank", "normscore", "kde"], ...] = ("reciprank", "normscore", "kde")
LONG = tuple(float(30 - i) for i in range(20))


def _weights(curriculum: Curriculum, groups: list, unit: Unit, progress: float = 0.0) -> torch.Tensor:
    batch = batch_of(groups)
    scores = torch.randn(batch.labels.shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values = losses(batch, scores, unit)
    weights = curriculum.begin().weights(scored(batch, scores, progress), values)
    assert weights.shape == values.valid.shape
    assert not weights.requires_grad
    assert not weights[~values.valid].any()
    return weights


def test_a_positive_is_easy_by_its_ease_a_negative_by_what_lacks_to_one() -> None:
    weights = _weights(Curriculum(), [group([1, 0, 0], [2, 1, 4])], "item")
    assert weights[0].tolist() == pytest.approx([1 / 2, 0, 3 / 4], abs=1e-7)


@pytest.mark.parametrize(("positive", "negative", "expected"), [(1, 4, 0.875), (10, 1, 0.05)])
@pytest.mark.parametrize("unit", ["pair", "list"])
def test_pairs_by_reciprocal_ranks(positive: int, negative: int, expected: float, unit: Unit) -> None:
    weights = _weights(Curriculum(), [group([0, 1], [negative, positive], LONG)], unit)
    assert float(weights[0, 1, 0] if unit == "pair" else weights[0]) == pytest.approx(expected, abs=1e-7)


def test_a_pair_of_scores() -> None:
    groups = [group([1, 0], [2, 3])]
    assert float(_weights(Curriculum(difficulty="normscore"), groups, "pair")[0, 0, 1]) == pytest.approx(0.6875)
    expected = (0.7004810324 - 0.4025206903 + 1) / 2
    assert float(_weights(Curriculum(difficulty="kde"), groups, "pair")[0, 0, 1]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_a_list_is_as_hard_as_its_hardest_pair(difficulty: Literal["reciprank", "normscore", "kde"]) -> None:
    curriculum = Curriculum(difficulty=difficulty)
    groups = [group([0, 2, 0, 1], [3, 1, 0, 5]), group([1, 0], [2, 4])]
    pairs = _weights(curriculum, groups, "pair")
    least = [float(pairs[b][pairs[b] > 0].min()) for b in range(2)]
    assert _weights(curriculum, groups, "list").tolist() == pytest.approx(least)
    assert least[0] < least[1]


def test_a_list_without_a_pair_is_halfway() -> None:
    assert _weights(Curriculum(), [group([1, 1], [1, 2])], "list").tolist() == pytest.approx([0.5], abs=1e-7)


def test_anti_turns_the_order_round() -> None:
    groups = [group([1, 0, 0, 0], [1, 2, 4, 5]), group([0, 1], [1, 5])]
    for unit in UNITS:
        both = _weights(Curriculum(), groups, unit) + _weights(Curriculum(anti=True), groups, unit)
        assert both[both > 0].tolist() == pytest.approx([1.0] * int((both > 0).sum()), abs=1e-6)


def test_the_way_to_one() -> None:
    groups = [group([0], [4], scores=[5.0])]  # 1 − 1/4
    curriculum = Curriculum(until=0.4, anti=True)  # D = 0.25
    weights = [float(_weights(curriculum, groups, "item", progress)) for progress in (0, 0.1, 0.2, 0.3, 0.4)]
    assert weights == pytest.approx([0.25, 0.4375, 0.625, 0.8125, 1], abs=1e-6)


@given(
    until=st.floats(0.01, 1),
    later=st.floats(0, 1),
    difficulty=st.sampled_from(DIFFICULTIES),
    unit=st.sampled_from(UNITS),
    anti=st.booleans(),
    variant=st.sampled_from(["per_sample", "batch_mean"]),
)
def test_exactly_one_at_the_end_and_never_falling_before(
    until: float, later: float, difficulty: str, unit: Unit, anti: bool, variant: str
) -> None:
    groups = [group([1, 0, 0], [2, 1, 0]), group([0, 1], [5, 3])]
    curriculum = Curriculum(difficulty=difficulty, until=until, anti=anti, variant=variant)  # type: ignore[arg-type]
    valid = losses(batch_of(groups), torch.zeros(2, 3), unit).valid
    for progress in (until, max(until, later), 1.0):
        assert torch.equal(_weights(curriculum, groups, unit, progress), valid.float())
    before = [_weights(curriculum, groups, unit, until * share) for share in (0, 0.3, 0.9)]
    assert all(bool(((w >= 0) & (w <= 1 + 1e-6)).all()) for w in before)
    assert bool((before[0] <= before[1] + 1e-6).all() and (before[1] <= before[2] + 1e-6).all())


@pytest.mark.parametrize("unit", UNITS)
def test_the_batch_mean_variant_gives_all_samples_their_mean(unit: Unit) -> None:
    groups = [group([1, 0, 0], [1, 2, 0]), group([0, 1], [1, 5])]
    own = _weights(Curriculum(), groups, unit, 0.1)
    mean = _weights(Curriculum(variant="batch_mean"), groups, unit, 0.1)
    valid = losses(batch_of(groups), torch.zeros(2, 3), unit).valid
    assert mean[valid].tolist() == pytest.approx([float(own[valid].mean())] * int(valid.sum()))
    assert float(own[valid].std()) > 0.01


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
@pytest.mark.parametrize("unit", UNITS)
def test_other_groups_and_their_padding_change_nothing(
    difficulty: Literal["reciprank", "normscore", "kde"], unit: Unit
) -> None:
    small, large = group([1, 0], [3, 1]), group([0, 0, 1, 0], [1, 2, 4, 5])
    alone = _weights(Curriculum(difficulty=difficulty), [small], unit)[0]
    beside = _weights(Curriculum(difficulty=difficulty), [small, large], unit)[0]
    assert torch.equal(beside[tuple(slice(0, n) for n in alone.shape)], alone)


def test_it_trains_nothing_and_reports_how_easy_the_batch_was() -> None:
    curriculum = Curriculum().begin()
    batch = batch_of([group([1, 0], [1, 4], RUN)])
    given = scored(batch, batch.labels, 0.5)
    assert curriculum.module is None
    assert curriculum.own_loss(given) is None
    assert curriculum.labels(given) is given.labels
    curriculum.weights(given, losses(batch, batch.labels, "pair"))
    assert curriculum.report() == {"easy": pytest.approx(0.875)}
    assert Curriculum().begin().report() == {}


@pytest.mark.parametrize("until", [0.0, -1.0, 1.5, float("nan")])
def test_the_end_is_a_share(until: float) -> None:
    with pytest.raises(ConfigError, match=r"^weighting\.until: must be"):
        check({"_target_": "rerankbench.training.weighting.curriculum.Curriculum", "until": until}, "weighting")
