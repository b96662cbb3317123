"""Sets: in what order they are shown, and how votes are counted."""

from __future__ import annotations

from typing import Any

from rerankbench.rerankers.requests import Request
from rerankbench.rerankers.strategies.setwise import BubbleSort, HeapSort
from rerankbench.types import Query
from tests.rerankers.strategies.drive import drive, mixed, number, oracle, upside_down, world


def _shown(log: Any) -> list[list[int]]:
    return [[number(c) for c in request.candidates] for request in log.requests]


def test_a_heap_shows_sets_by_rank_or_the_node_first() -> None:
    by_rank = _shown(drive(HeapSort(children=3), world(40), oracle(upside_down)))
    assert all(shown == sorted(shown) for shown in by_rank)
    by_heap = _shown(drive(HeapSort(children=3, present="heap"), world(40), oracle(upside_down)))
    assert list(map(sorted, by_heap)) == by_rank
    assert by_heap != by_rank
    assert by_heap[0] == [12, 37, 38, 39]


def test_a_bubble_moves_the_winner_to_the_front_and_shows_the_current_order() -> None:
    log = drive(BubbleSort(k=1, children=2), world(7), oracle(lambda i: float(i == 6)))
    assert _shown(log) == [[4, 5, 6], [2, 3, 6], [0, 1, 6]]
    assert log.order == [6, 0, 1, 2, 3, 4, 5]
    clamped = drive(BubbleSort(k=2, children=3), world(6), oracle(mixed))
    assert [len(shown) for shown in _shown(clamped)] == [4, 3, 4, 2]


def test_two_votes_are_both_directions() -> None:
    log = drive(HeapSort(votes=2), world(20), oracle(mixed))
    for forward, backward in log.rounds:
        assert forward.candidates == backward.candidates[::-1]


def test_more_votes_are_shuffles_that_the_seed_the_query_and_the_set_fix() -> None:
    def shown(query: str, seed: int, n: int = 30) -> list[list[int]]:
        strategy = BubbleSort(votes=3, children=9, seed=seed)
        return _shown(drive(strategy, world(n), oracle(lambda i: -float(i)), query=Query(query, "text")))

    assert shown("a", 0) == shown("a", 0)
    assert shown("a", 0) != shown("a", 1)
    assert shown("a", 0) != shown("b", 0)
    asked: dict[tuple[int, ...], list[list[int]]] = {}
    every = shown("a", 0)
    for i in range(0, len(every), 3):  # the same set again is shown in the same orders: the store can answer
        votes = every[i : i + 3]
        assert asked.setdefault(tuple(sorted(votes[0])), votes) == votes
    assert len(asked) < len(every) / 3


def test_the_majority_wins_failures_abstain_and_ties_go_to_the_better_rank() -> None:
    def voting(*answers: int | None) -> list[int]:
        said = iter(answers)

        def answer(request: Request) -> int | None:
            wanted = next(said)
            return None if wanted is None else [number(c) for c in request.candidates].index(wanted)

        return drive(HeapSort(k=1, children=2, votes=len(answers)), world(3), answer).order

    assert voting(2, 1, 2) == [2, 0, 1]
    assert voting(None, 2, None) == [2, 0, 1]
    assert voting(2, 1) == [1, 0, 2]
    assert voting(2, 1, None, None, 1) == [1, 0, 2]
    assert voting(None, None) == [0, 1, 2]
