"""What each strategy asks, exactly: requests and rounds by list length and by how good the list already is."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import pytest

from rerankbench.rerankers.requests import Strategy
from rerankbench.rerankers.strategies import pairwise, setwise
from rerankbench.rerankers.strategies.early_exit import EarlyExit
from rerankbench.rerankers.strategies.groupwise import Groups
from rerankbench.rerankers.strategies.identity import Identity
from rerankbench.rerankers.strategies.listwise import OneShot, SlidingWindow
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.strategies.tournament import Tournament
from tests.rerankers.strategies.drive import drive, garbled, in_order, mixed, oracle, upside_down, world

LENGTHS = (0, 1, 2, 5, 20, 100, 137)
ORDERS = {"best": in_order, "mix": mixed, "rev": upside_down}

TABLE: list[tuple[Strategy, str, list[int]]] = [
    (Identity(), "best mix rev", [0, 0, 0, 0, 0, 0, 0]),
    (ScoreAll(), "best mix rev", [0, 1, 2, 5, 20, 100, 137]),
    (EarlyExit(beta=4), "best", [0, 1, 2, 5, 14, 14, 14]),
    (EarlyExit(beta=4), "mix", [0, 1, 2, 5, 20, 61, 61]),
    (EarlyExit(beta=4), "rev", [0, 1, 2, 5, 20, 100, 137]),
    (pairwise.AllPairs(), "best mix rev", [0, 0, 2, 20, 380, 9900, 18632]),
    (pairwise.HeapSort(), "best", [0, 0, 2, 20, 150, 406, 492]),
    (pairwise.HeapSort(), "mix", [0, 0, 2, 22, 176, 566, 720]),
    (pairwise.HeapSort(), "rev", [0, 0, 2, 24, 176, 584, 764]),
    (pairwise.BubbleSort(), "best mix rev", [0, 0, 2, 20, 290, 1890, 2630]),
    (setwise.HeapSort(children=2), "best", [0, 0, 1, 6, 38, 102, 123]),
    (setwise.HeapSort(children=2), "mix", [0, 0, 1, 6, 46, 142, 180]),
    (setwise.HeapSort(children=2), "rev", [0, 0, 1, 7, 45, 147, 191]),
    (setwise.HeapSort(children=3), "best", [0, 0, 1, 5, 27, 69, 84]),
    (setwise.HeapSort(children=3), "mix", [0, 0, 1, 5, 28, 83, 105]),
    (setwise.HeapSort(children=3), "rev", [0, 0, 1, 6, 33, 83, 113]),
    (setwise.HeapSort(children=9), "best", [0, 0, 1, 4, 13, 30, 35]),
    (setwise.HeapSort(children=9), "mix", [0, 0, 1, 4, 17, 31, 39]),
    (setwise.HeapSort(children=9), "rev", [0, 0, 1, 4, 22, 39, 46]),
    (setwise.HeapSort(children=19), "best", [0, 0, 1, 4, 10, 19, 23]),
    (setwise.HeapSort(children=19), "mix", [0, 0, 1, 4, 10, 24, 26]),
    (setwise.HeapSort(children=19), "rev", [0, 0, 1, 4, 10, 25, 27]),
    (setwise.BubbleSort(children=2), "best mix rev", [0, 0, 1, 6, 75, 475, 660]),
    (setwise.BubbleSort(children=3), "best mix rev", [0, 0, 1, 5, 52, 318, 442]),
    (setwise.BubbleSort(children=9), "best mix rev", [0, 0, 1, 4, 21, 109, 151]),
    (setwise.BubbleSort(children=19), "best mix rev", [0, 0, 1, 4, 10, 54, 73]),
    (SlidingWindow(window=20, stride=10), "best mix rev", [0, 0, 1, 1, 1, 9, 13]),
    (SlidingWindow(window=10, stride=5), "best mix rev", [0, 0, 1, 1, 3, 19, 27]),
    (SlidingWindow(window=7, stride=3), "best mix rev", [0, 0, 1, 1, 6, 32, 45]),
    (SlidingWindow(window=4, stride=2), "best mix rev", [0, 0, 1, 2, 9, 49, 68]),
    (Tournament(), "best mix rev", [0, 0, 1, 1, 3, 13, 20]),
    (OneShot(), "best mix rev", [0, 0, 1, 1, 1, 1, 1]),
    (Groups(group_size=20), "best mix rev", [0, 1, 1, 1, 1, 5, 7]),
    (Groups(group_size=10), "best mix rev", [0, 1, 1, 1, 2, 10, 14]),
]


@pytest.mark.parametrize(("strategy", "orders", "expected"), TABLE, ids=lambda value: str(value))
def test_requests(strategy: Strategy, orders: str, expected: list[int]) -> None:
    for order in orders.split():
        logs = [drive(strategy, world(n), oracle(ORDERS[order])) for n in LENGTHS]
        assert [len(log.requests) for log in logs] == expected, order


def test_requests_of_a_whole_heap_sort() -> None:
    lengths = (5, 20, 100, 137)
    pairs = [len(drive(pairwise.HeapSort(k=n), world(n), oracle(mixed)).requests) for n in lengths]
    sets = [len(drive(setwise.HeapSort(k=n, children=3), world(n), oracle(mixed)).requests) for n in lengths]
    assert pairs == [22, 242, 2046, 3044]
    assert sets == [5, 41, 340, 504]


FORMULAS: list[tuple[Strategy, Callable[[int], int]]] = [
    (ScoreAll(), lambda n: n),
    (EarlyExit(), lambda n: n),
    (pairwise.AllPairs(), lambda n: n * (n - 1)),
    (pairwise.BubbleSort(k=10), lambda n: 2 * sum(n - 1 - i for i in range(min(10, n - 1)))),
    (OneShot(), lambda n: int(n >= 2)),
    *[
        (
            setwise.BubbleSort(k=k, children=c),
            lambda n, c=c, k=k: sum(ceil((n - 1 - i) / c) for i in range(min(k, n - 1))),
        )
        for c, k in ((1, 10), (2, 10), (3, 4), (9, 10), (19, 10))
    ],
    *[
        (SlidingWindow(window=w, stride=s, passes=r), lambda n, w=w, s=s, r=r: r * _windows(n, w, s))
        for w, s, r in ((20, 10, 1), (10, 5, 2), (7, 3, 1), (4, 2, 5), (5, 4, 1), (9, 2, 3), (2, 1, 1))
    ],
    *[
        (Groups(group_size=g, rounds=r), lambda n, g=g, r=r: r * ceil(n / g))
        for g, r in ((20, 1), (10, 2), (7, 1), (1, 1), (3, 4))
    ],
    (Groups(group_size=None), lambda n: int(n > 0)),
]


def _windows(n: int, window: int, stride: int) -> int:
    return 0 if n < 2 else 1 + ceil(max(0, n - window) / stride)


@pytest.mark.parametrize(
    ("strategy", "formula"),
    FORMULAS,
    ids=lambda value: getattr(value, "__name__", str(value)) if "(" in str(value) else "",
)
def test_closed_forms_hold_for_lists_of_any_length(strategy: Strategy, formula: Callable[[int], int]) -> None:
    answer, lengths = oracle(mixed), [*range(45), *range(45, 138, 11), 137]
    counted = [len(drive(strategy, world(n), answer).requests) for n in lengths]
    assert counted == [max(0, formula(n)) for n in lengths]


ROUNDS: list[tuple[Strategy, Callable[[int], float]]] = [
    (ScoreAll(), lambda requests: min(1, requests)),
    (pairwise.AllPairs(), lambda requests: min(1, requests)),
    (pairwise.HeapSort(), lambda requests: requests / 2),
    (pairwise.BubbleSort(), lambda requests: requests / 2),
    (setwise.HeapSort(), lambda requests: requests),
    (setwise.BubbleSort(), lambda requests: requests),
    (setwise.HeapSort(votes=5), lambda requests: requests / 5),
    (SlidingWindow(), lambda requests: requests),
    (OneShot(), lambda requests: requests),
    (Groups(), lambda requests: min(1, requests)),
    (EarlyExit(), lambda requests: min(1, requests)),
]


@pytest.mark.parametrize(
    ("strategy", "formula"),
    ROUNDS,
    ids=lambda value: getattr(value, "__name__", str(value)) if "(" in str(value) else "",
)
def test_rounds(strategy: Strategy, formula: Callable[[int], float]) -> None:
    for n in LENGTHS:
        log = drive(strategy, world(n), oracle(mixed))
        assert len(log.rounds) == formula(len(log.requests))


def test_rounds_of_a_tournament_are_its_stages() -> None:
    for rounds in (1, 7):
        logs = [drive(Tournament(rounds=rounds), world(n), oracle(mixed)) for n in LENGTHS]
        assert [len(log.rounds) for log in logs] == [0, 0, 1, 1, 3, 5, 6]
        assert [len(log.requests) for log in logs] == [rounds * r for r in (0, 0, 1, 1, 3, 13, 20)]


def test_rounds_of_an_early_exit() -> None:
    for n in LENGTHS:
        for relevance in ORDERS.values():
            assert len(drive(EarlyExit(beta=4), world(n), oracle(relevance)).rounds) <= 1 + max(0, n - 10)


@pytest.mark.parametrize("votes", [1, 2, 3, 6])
def test_votes_multiply_setwise_requests(votes: int) -> None:
    for kind, expected in ((setwise.HeapSort, 83), (setwise.BubbleSort, 318)):
        assert len(drive(kind(votes=votes), world(100), oracle(mixed)).requests) == votes * expected


DISTINCT: list[tuple[Strategy, Callable[[int], float], int, int]] = [
    (pairwise.HeapSort(), mixed, 534, 566),
    (pairwise.BubbleSort(), mixed, 1650, 1890),
    (pairwise.BubbleSort(), in_order, 198, 1890),
    (pairwise.AllPairs(), mixed, 9900, 9900),
    (setwise.BubbleSort(children=3), mixed, 300, 318),
    (setwise.BubbleSort(children=3), in_order, 39, 318),
    (setwise.BubbleSort(children=9), mixed, 92, 109),
    (setwise.BubbleSort(children=19), mixed, 42, 54),
    *[(setwise.HeapSort(children=c), mixed, total, total) for c, total in ((2, 142), (3, 83), (9, 31), (19, 24))],
    (SlidingWindow(), mixed, 9, 9),
    (Tournament(), mixed, 13, 13),
    (Groups(), mixed, 5, 5),
]


@pytest.mark.parametrize(
    ("strategy", "relevance", "distinct", "total"),
    DISTINCT,
    ids=lambda value: getattr(value, "__name__", str(value))[:60],
)
def test_distinct_requests(strategy: Strategy, relevance: Any, distinct: int, total: int) -> None:
    log = drive(strategy, world(100), oracle(relevance))
    assert (log.distinct, len(log.requests)) == (distinct, total)


@pytest.mark.parametrize(
    "strategy",
    [pairwise.HeapSort(), pairwise.BubbleSort(), *(setwise.HeapSort(children=c) for c in (2, 3, 9, 19))],
    ids=str,
)
def test_a_scorer_that_always_fails_costs_what_a_list_in_order_costs(strategy: Strategy) -> None:
    for n in LENGTHS:
        counts = [len(drive(strategy, world(n), answer).requests) for answer in (garbled, oracle(in_order))]
        assert counts[0] == counts[1]
