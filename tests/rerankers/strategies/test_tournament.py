"""Tournaments: the paper's stages for n = 100, and sensible ones for any n."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rerankbench.rerankers.requests import Listwise
from rerankbench.rerankers.strategies.tournament import Tournament, _groups, _targets
from rerankbench.types import Query
from tests.rerankers.strategies.drive import (
    always_first,
    best,
    drive,
    garbled,
    mixed,
    number,
    oracle,
    upside_down,
    world,
)


def _stages(n: int) -> list[list[tuple[int, int | None]]]:
    log = drive(Tournament(), world(n), oracle(mixed))
    return [[(len(r.candidates), r.top) for r in asked if isinstance(r, Listwise)] for asked in log.rounds]


def test_the_stages_of_the_paper() -> None:
    assert _stages(100) == [[(20, 10)] * 5, [(10, 4)] * 5, [(20, 10)], [(10, 5)], [(5, 2)]]


def test_uneven_groups_have_the_larger_ones_first_and_who_all_advance_are_not_asked() -> None:
    assert _stages(137)[0] == [(20, 15)] * 2 + [(20, 14)] * 2 + [(19, 14)] * 3
    assert _stages(21)[0] == [(11, 10)]  # the other group has 10 documents for 10 places
    assert _stages(2) == [[(2, 1)]]


def test_every_stage_of_every_length() -> None:
    for n in range(2, 301):
        for m, target in pairwise([n, *_targets(n)]):
            groups = _groups(world(m), target)
            sizes, quotas = [len(members) for members, _ in groups], [quota for _, quota in groups]
            assert (sum(sizes), sum(quotas)) == (m, target)
            assert max(sizes) <= 20
            assert sizes == sorted(sizes, reverse=True)
            assert quotas == sorted(quotas, reverse=True)
            assert max(sizes) - min(sizes) <= 1 >= max(quotas) - min(quotas)
            assert all(1 <= quota <= size for size, quota in zip(sizes, quotas, strict=True))
            assert [number(c) for c in groups[0][0]] == list(range(0, m, len(groups)))


@pytest.mark.parametrize("relevance", [mixed, upside_down])
def test_the_best_is_in_the_first_two_and_survivors_are_ahead(relevance: object) -> None:
    assert callable(relevance)
    for n in range(1, 140):
        log = drive(Tournament(rounds=1), world(n), oracle(relevance))
        assert best(relevance, n)[0] in log.order[:2]
        stages = len(log.rounds)
        for stage, target in enumerate(_targets(n), start=1):
            assert log.scores[target - 1] >= stage
            assert log.scores[target] < stage
        assert log.scores[0] == stages


def test_garbled_and_always_first_are_the_original_order_for_every_length() -> None:
    for n in range(301):
        assert drive(Tournament(rounds=2), world(n), garbled).order == list(range(n))
        assert drive(Tournament(shuffle=False), world(n), always_first).order == list(range(n))


def test_shuffles_are_fixed_by_seed_and_query_and_a_longer_series_begins_like_a_shorter_one() -> None:
    def shown(rounds: int = 1, seed: int = 0, query: str = "q", shuffle: bool = True) -> list[list[tuple[int, ...]]]:
        strategy = Tournament(rounds=rounds, seed=seed, shuffle=shuffle)
        log = drive(strategy, world(100), oracle(mixed), query=Query(query, "text"))
        return [[tuple(number(c) for c in request.candidates) for request in asked] for asked in log.rounds]

    assert shown() == shown()
    assert shown() != shown(seed=1)
    assert shown() != shown(query="r")
    assert shown() == [asked[: len(asked) // 3] for asked in shown(rounds=3)]
    assert all(list(one) == sorted(one) for asked in shown(shuffle=False) for one in asked)
    (first, second) = (asked := shown(rounds=2)[0])[:5], asked[5:]
    assert first != second
    assert list(map(sorted, first)) == list(map(sorted, second))


def test_points_add_up_and_without_shuffles_only_repeat() -> None:
    once = drive(Tournament(shuffle=False), world(50), oracle(mixed))
    thrice = drive(Tournament(shuffle=False, rounds=3), world(50), oracle(mixed))
    assert thrice.order == once.order
    assert thrice.scores == [3 * score for score in once.scores]
