"""Pairs: how two answers become one, and what adds up to a score."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.rerankers.requests import Pairwise, Request
from rerankbench.rerankers.strategies.pairwise import AllPairs, BubbleSort, HeapSort
from tests.rerankers.strategies.drive import drive, mixed, number, oracle, world


def _preferences(n: int, seed: int) -> Any:
    """Any preference for every ordered pair."""
    chance = random.Random(seed)
    table = {(i, j): chance.choice([0.0, 0.2, 0.5, 0.7, 1.0]) for i in range(n) for j in range(n)}

    def answer(request: Request) -> float:
        assert isinstance(request, Pairwise)
        return table[number(request.first), number(request.second)]

    return table, answer


def test_every_comparison_asks_both_orders_in_one_round() -> None:
    for strategy in (AllPairs(), HeapSort(), BubbleSort()):
        for asked in drive(strategy, world(12), oracle(mixed)).rounds:
            shown = [(number(r.candidates[0]), number(r.candidates[1])) for r in asked]
            assert all(shown[i] == shown[i + 1][::-1] for i in range(0, len(shown), 2))


@given(n=st.integers(0, 12), seed=st.integers(0, 999))
def test_all_pairs_soft_is_sym_sum(n: int, seed: int) -> None:
    table, answer = _preferences(n, seed)
    log = drive(AllPairs(), world(n), answer)
    sums = {i: sum(table[i, j] + 1 - table[j, i] for j in range(n) if j != i) / 2 for i in range(n)}
    assert log.scores == pytest.approx([sums[i] for i in log.order])
    assert sum(log.scores) == pytest.approx(n * (n - 1) / 2)


@settings(deadline=None)
@given(n=st.integers(0, 12), seed=st.integers(0, 999))
def test_soft_is_hard_where_answers_are_generated(n: int, seed: int) -> None:
    table, _ = _preferences(n, seed)

    def answer(request: Request) -> float:
        return float(table[number(request.candidates[0]), number(request.candidates[1])] > 0.4)

    for kind in (AllPairs, HeapSort, BubbleSort):
        assert drive(kind(preference="soft"), world(n), answer) == drive(kind(preference="hard"), world(n), answer)


def test_hard_needs_both_orders_to_agree() -> None:
    def answer(request: Request) -> float:  # prefers what is shown first, and document 1 a little
        return {(0, 1): 0.6, (1, 0): 0.8}[number(request.candidates[0]), number(request.candidates[1])]

    for kind in (AllPairs, HeapSort, BubbleSort):
        assert drive(kind(preference="soft"), world(2), answer).order == [1, 0]
        assert drive(kind(preference="hard"), world(2), answer).order == [0, 1]
    assert drive(AllPairs(preference="hard"), world(2), answer).scores == [0.5, 0.5]


@pytest.mark.parametrize("strategy", [AllPairs(), HeapSort(), BubbleSort(), HeapSort(preference="hard")], ids=str)
@pytest.mark.parametrize("preference", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_a_preference_for_a_place_is_a_tie(strategy: Any, preference: float) -> None:
    assert drive(strategy, world(25), lambda _: preference).order == list(range(25))


def test_a_pair_with_a_failed_half_is_a_tie() -> None:
    def answer(request: Request) -> float | None:
        return None if number(request.candidates[0]) == 0 else 1.0

    for kind in (AllPairs, HeapSort, BubbleSort):
        assert drive(kind(), world(2), answer).order == [0, 1]
