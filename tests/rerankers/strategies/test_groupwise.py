"""Groups: who is grouped with whom, what is averaged, and what is blended."""

from __future__ import annotations

import pytest

from rerankbench.rerankers.requests import Groupwise, Request
from rerankbench.rerankers.strategies.groupwise import Groups
from rerankbench.types import Query
from tests.rerankers.strategies.drive import drive, mixed, number, oracle, world


def test_the_first_round_groups_neighbours_and_sizes_differ_by_one_at_most() -> None:
    for n in range(1, 60):
        log = drive(Groups(group_size=7, rounds=2), world(n), oracle(mixed))
        groups = [[number(c) for c in request.candidates] for request in log.rounds[0]]
        assert [i for group in groups for i in group] == list(range(n))
        sizes = [len(group) for group in groups]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) <= min(7, min(sizes) + 1)
        later = [number(c) for request in log.rounds[1] for c in request.candidates]
        assert sorted(later) == list(range(n))
        assert n < 10 or later != list(range(n))


def test_shuffles_are_fixed_by_seed_and_query() -> None:
    def second(seed: int, query: str) -> list[Request]:
        return drive(Groups(rounds=2, seed=seed), world(40), oracle(mixed), query=Query(query, "text")).rounds[1]

    assert second(0, "a") == second(0, "a")
    assert [r.candidates for r in second(0, "a")] != [r.candidates for r in second(1, "a")]
    assert [r.candidates for r in second(0, "a")] != [r.candidates for r in second(0, "b")]


def test_a_score_is_the_mean_of_what_was_answered() -> None:
    answers = iter([[1.0, 8.0, None], [4.0, None, None]])

    def answer(request: Request) -> list[float | None]:
        assert isinstance(request, Groupwise)
        by_number = dict(enumerate(next(answers)))
        return [by_number[number(c)] for c in request.candidates]

    log = drive(Groups(group_size=None, rounds=2), world(3), answer)
    assert log.order == [1, 0, 2]
    assert log.scores[:2] == [8.0, 2.5]


def test_a_failed_group_goes_last_and_is_not_zero() -> None:
    def answer(request: Request) -> list[float] | None:
        return None if number(request.candidates[0]) == 0 else [-5.0, -4.0]

    assert drive(Groups(group_size=2), world(4), answer).order == [3, 2, 0, 1]


def test_blending_breaks_ties_by_the_retriever() -> None:
    scores = {0: 2.0, 1: 7.0, 2: 7.0, 3: None}  # retriever: 4 3 2 1

    def answer(request: Request) -> list[float | None]:
        return [scores[number(c)] for c in request.candidates]

    raw = drive(Groups(retriever_weight=0.4, blend="raw"), world(4), answer)
    assert raw.order == [1, 2, 0, 3]
    assert raw.scores[:3] == pytest.approx([0.6 * 7 + 0.4 * 3, 0.6 * 7 + 0.4 * 2, 0.6 * 2 + 0.4 * 4])
    scaled = drive(Groups(retriever_weight=0.4), world(4), answer)
    assert scaled.scores[:3] == pytest.approx([0.6 + 0.4 * 2 / 3, 0.6 + 0.4 / 3, 0.4])
    assert drive(Groups(retriever_weight=0.4), world(4), lambda _: [1.0] * 4).order == [0, 1, 2, 3]
    assert drive(Groups(retriever_weight=0.4), world(4), lambda _: None).order == [0, 1, 2, 3]
