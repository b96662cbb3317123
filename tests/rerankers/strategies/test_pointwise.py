"""Score all: every candidate asked about once, in one round, and ordered by score."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Candidate, Document, Query, Ranking

QUERY = Query("q", "text")


def _rank(answers: list[float | None]) -> tuple[list[int], Ranking]:
    """The sizes of the rounds asked, and the ranking."""
    candidates = [Candidate(Document(f"d{i}", ""), i, -float(i)) for i in range(len(answers))]
    rounds = ScoreAll().rank(QUERY, candidates)
    asked = []
    try:
        requests = next(rounds)
        while True:
            asked.append(len(requests))
            assert requests == [Pointwise(QUERY, candidate) for candidate in candidates]
            requests = rounds.send(list(answers))
    except StopIteration as done:
        return asked, done.value


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float)), max_size=30))
def test_one_round_and_an_order_by_score_else_by_first_stage(answers: list[float | None]) -> None:
    asked, ranking = _rank(answers)
    assert asked == ([len(answers)] if answers else [])
    expected = sorted(range(len(answers)), key=lambda i: (answers[i] is None, -(answers[i] or 0.0), i))
    assert [candidate.rank for candidate in ranking.candidates] == expected
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    for candidate, score in zip(ranking.candidates, ranking.scores, strict=True):
        assert answers[candidate.rank] in (None, score)
        assert candidate.score == -float(candidate.rank)
