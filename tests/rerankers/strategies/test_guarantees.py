"""What every strategy returns: of a perfect scorer, of one that fails or sees places only, and of a spent budget."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.rerankers.requests import Groupwise, Listwise, Pairwise, Pointwise, Request, Setwise, Strategy
from rerankbench.rerankers.strategies import pairwise, setwise
from rerankbench.rerankers.strategies.early_exit import EarlyExit
from rerankbench.rerankers.strategies.groupwise import Groups
from rerankbench.rerankers.strategies.insert_scores import InsertScores
from rerankbench.rerankers.strategies.listwise import OneShot, SlidingWindow
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.strategies.text_prf import TextPRF
from rerankbench.rerankers.strategies.tournament import Tournament
from tests.rerankers.strategies.drive import (
    always_first,
    always_last,
    best,
    drive,
    garbled,
    in_order,
    mixed,
    oracle,
    upside_down,
    world,
)

SCORING = [
    ScoreAll(),
    EarlyExit(),
    EarlyExit(beta=2, alpha=0.1, block=3),
    TextPRF(),
    Groups(),
    Groups(group_size=7, rounds=3),
]
COMPARING = [
    pairwise.AllPairs(),
    pairwise.AllPairs(preference="hard"),
    *(
        kind(k=k, preference=how)
        for kind in (pairwise.HeapSort, pairwise.BubbleSort)
        for k in (3, 10)
        for how in ("soft", "hard")
    ),
]
CHOOSING = [
    kind(k=k, children=c) for kind in (setwise.HeapSort, setwise.BubbleSort) for k, c in ((10, 2), (4, 3), (10, 19))
]
LISTING = [
    SlidingWindow(),
    SlidingWindow(window=7, stride=3, passes=2),
    OneShot(),
    InsertScores(strategy=SlidingWindow()),
]
PLAYING = [Tournament(), Tournament(rounds=3), Tournament(rounds=2, shuffle=False)]
ALL = [*SCORING, *COMPARING, *CHOOSING, *LISTING, *PLAYING]

LENGTHS = [*range(23), 41, 100, 137]


@pytest.mark.parametrize("relevance", [in_order, mixed, upside_down])
@pytest.mark.parametrize(
    "strategy", [ScoreAll(), EarlyExit(), pairwise.AllPairs(), OneShot(), Groups(group_size=7)], ids=str
)
def test_a_perfect_scorer_puts_all_in_place(strategy: Strategy, relevance: Any) -> None:
    for n in LENGTHS:
        assert drive(strategy, world(n), oracle(relevance)).order == best(relevance, n)


@pytest.mark.parametrize("relevance", [in_order, mixed, upside_down])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_perfect_scorer_puts_k_in_place_and_the_rest_stays(k: int, relevance: Any) -> None:
    sorts = [pairwise.HeapSort(k=k), pairwise.BubbleSort(k=k)]
    sorts += [
        kind(k=k, children=c, votes=v)
        for kind in (setwise.HeapSort, setwise.BubbleSort)
        for c, v in ((1, 1), (3, 2), (9, 3))
    ]
    for n in LENGTHS:
        top = best(relevance, n)[:k]
        for strategy in sorts:
            assert drive(strategy, world(n), oracle(relevance)).order == [*top, *(i for i in range(n) if i not in top)]


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 50), seed=st.integers(0, 10**6), k=st.integers(1, 55), children=st.integers(1, 20))
def test_partial_sorts_are_right_for_any_order(n: int, seed: int, k: int, children: int) -> None:
    truth = random.Random(seed).sample(range(n), n)
    relevance = truth.__getitem__
    for strategy in (
        pairwise.HeapSort(k=k),
        setwise.HeapSort(k=k, children=children),
        setwise.BubbleSort(k=k, children=children),
    ):
        assert drive(strategy, world(n), oracle(relevance)).order[:k] == best(relevance, n)[:k]


@pytest.mark.parametrize("strategy", [*SCORING, *COMPARING, *CHOOSING, *LISTING, Tournament(shuffle=False)], ids=str)
def test_ties_keep_the_first_stage_order(strategy: Strategy) -> None:
    for n in LENGTHS:
        assert drive(strategy, world(n), oracle(lambda i: 1.0)).order == list(range(n))


@pytest.mark.parametrize("strategy", ALL, ids=str)
def test_all_garbled_is_the_original_order(strategy: Strategy) -> None:
    for n in LENGTHS:
        assert drive(strategy, world(n), garbled).order == list(range(n))


@pytest.mark.parametrize("strategy", [*SCORING, *COMPARING, *CHOOSING, *LISTING, Tournament(shuffle=False)], ids=str)
def test_always_first_is_the_original_order(strategy: Strategy) -> None:
    for n in LENGTHS:
        assert drive(strategy, world(n), always_first).order == list(range(n))


@pytest.mark.parametrize(
    "strategy",
    [
        *SCORING,
        *COMPARING,
        *(kind(votes=2, children=c) for kind in (setwise.HeapSort, setwise.BubbleSort) for c in (1, 3, 9)),
    ],
    ids=str,
)
def test_always_last_is_the_original_order_where_both_orders_are_asked(strategy: Strategy) -> None:
    for n in LENGTHS:
        assert drive(strategy, world(n), always_last).order == list(range(n))


def test_always_last_reverses_a_one_shot_and_the_windows() -> None:
    assert drive(OneShot(), world(5), always_last).order == [4, 3, 2, 1, 0]
    assert drive(SlidingWindow(window=4, stride=2), world(6), always_last).order == [4, 5, 1, 0, 3, 2]
    assert drive(setwise.HeapSort(), world(9), always_last).order != list(range(9))


def _hostile(seed: int, failing: float) -> Any:
    """Any answers a scorer may give, many of them missing."""
    chance = random.Random(seed)

    def answer(request: Request) -> Any:
        n = len(request.candidates)
        if chance.random() < failing:
            return None
        if isinstance(request, Pointwise):
            return chance.choice([-1e300, -1.0, 0.0, 0.5, 1e-300, 1e300])
        if isinstance(request, Pairwise):
            return chance.choice([0.0, 0.25, 0.5, 1.0])
        if isinstance(request, Setwise):
            return chance.randrange(n)
        if isinstance(request, Listwise):
            return chance.sample(range(n), n)
        assert isinstance(request, Groupwise)
        return [None if chance.random() < failing else chance.choice([0, 3.5, 10.0]) for _ in range(n)]

    return answer


@settings(deadline=None, max_examples=300)
@given(
    strategy=st.sampled_from(ALL),
    n=st.integers(0, 60),
    seed=st.integers(0, 10**6),
    failing=st.sampled_from([0.0, 0.1, 0.9]),
    budget=st.one_of(st.none(), st.integers(0, 40)),
)
def test_any_answers_give_a_permutation_and_always_the_same(
    strategy: Strategy, n: int, seed: int, failing: float, budget: int | None
) -> None:
    state = random.getstate()
    logs = [drive(strategy, world(n), _hostile(seed, failing), budget=budget) for _ in range(2)]
    assert logs[0] == logs[1]
    assert random.getstate() == state, "uses the global generator"


@pytest.mark.parametrize("strategy", ALL, ids=str)
def test_a_budget_of_nothing_is_the_first_stage_order(strategy: Strategy) -> None:
    for n in (0, 1, 2, 30):
        assert drive(strategy, world(n), oracle(mixed), budget=0).order == list(range(n))


@pytest.mark.parametrize("strategy", ALL, ids=str)
def test_a_budget_may_end_at_any_round(strategy: Strategy) -> None:
    whole = drive(strategy, world(30), oracle(mixed))
    for budget in range(len(whole.rounds)):
        stopped = drive(strategy, world(30), oracle(mixed), budget=budget)
        assert stopped.rounds == whole.rounds[:budget]
    assert drive(strategy, world(30), oracle(mixed), budget=len(whole.rounds)) == whole


@pytest.mark.parametrize("strategy", [pairwise.HeapSort(), setwise.HeapSort(children=2)], ids=str)
def test_a_stopped_heap_gives_what_it_took_then_the_first_stage(strategy: Strategy) -> None:
    right = best(mixed, 30)
    taken = 0
    for budget in range(len(drive(strategy, world(30), oracle(mixed)).rounds)):
        order = drive(strategy, world(30), oracle(mixed), budget=budget).order
        now = next(j for j in range(taken, 31) if order == [*right[:j], *(i for i in range(30) if i not in right[:j])])
        assert now - taken <= 1
        taken = now
    assert taken == 9


def test_a_stopped_bubble_sort_gives_the_list_as_it_is() -> None:
    order = list(range(12))
    steps = [(p, j) for p in range(3) for j in range(11, p, -1)]
    for budget, (_, j) in enumerate(steps):
        assert drive(pairwise.BubbleSort(k=3), world(12), oracle(mixed), budget=budget).order == order
        if mixed(order[j]) > mixed(order[j - 1]):
            order[j - 1 : j + 1] = [order[j], order[j - 1]]


def test_stopped_windows_give_the_list_as_it_is() -> None:
    order = list(range(25))
    windows = [(18, 25), (15, 22), (12, 19), (9, 16), (6, 13), (3, 10), (0, 7)]
    for budget, (start, end) in enumerate([*windows, *windows]):
        stopped = drive(SlidingWindow(window=7, stride=3, passes=2), world(25), oracle(mixed), budget=budget)
        assert stopped.order == order
        order[start:end] = sorted(order[start:end], key=mixed, reverse=True)


def test_a_stopped_tournament_counts_the_points_so_far() -> None:
    for budget, survivors in enumerate([100, 50, 20, 10, 5]):
        stopped = drive(Tournament(), world(100), oracle(mixed), budget=budget)
        assert stopped.scores[survivors - 1] == budget > stopped.scores[survivors] if budget else stopped.scores[0] == 0
        assert stopped.order[:survivors] == sorted(stopped.order[:survivors])


def test_stopped_scoring_gives_the_scored_ones_then_the_rest() -> None:
    for budget in range(1, 6):
        stopped = drive(EarlyExit(k=4, beta=9), world(20), oracle(mixed), budget=budget)
        asked = [int(r.candidates[0].document.id) for r in stopped.requests]
        assert stopped.order == [*sorted(asked, key=mixed, reverse=True), *range(len(asked), 20)]
    whole = drive(Groups(group_size=4), world(20), oracle(mixed))
    assert drive(Groups(group_size=4, rounds=3), world(20), oracle(mixed), budget=1).order == whole.order
