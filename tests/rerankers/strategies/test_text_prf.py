"""Feedback on the query's text: its identities, its counts and its cuts."""

from __future__ import annotations

from math import ceil, exp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.rerankers.requests import Request
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.strategies.text_prf import TextPRF
from rerankbench.types import Candidate, Query
from tests.rerankers.strategies.drive import QUERY, drive, number, oracle, world

WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]


def _candidates(n: int) -> list[Candidate]:
    return world(n, lambda i: " ".join(WORDS[(i * j + i) % 7] for j in range(i % 5 + 3)))


def overlap(request: Request) -> float:
    """The share of a document's words that the query has, and a little for each time it has them."""
    words, query = request.candidates[0].document.text.split(), request.query.text.split()
    return sum(1 + query.count(word) / 100 for word in words if word in query) / len(words)


def _texts(strategy: TextPRF, n: int = 12) -> list[str]:
    return [query.text for query in strategy.queries(QUERY, _candidates(n))]


@pytest.mark.parametrize("method", ["ct", "ca", "sw"])
@pytest.mark.parametrize("original", [False, True])
def test_no_feedback_is_the_plain_query(method: Any, original: bool) -> None:
    strategy = TextPRF(depth=0, method=method, combine="average", include_original=original)
    assert drive(strategy, _candidates(12), overlap) == drive(ScoreAll(), _candidates(12), overlap)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_with_one_text_all_combinations_and_both_methods_agree(n: int) -> None:
    orders = [
        drive(TextPRF(depth=1, method=method, combine=combine), _candidates(n), overlap).order
        for method in ("ct", "ca")
        for combine in ("average", "max", "borda")
    ]
    assert all(order == orders[0] for order in orders)


def test_a_window_of_everything_is_the_concatenation() -> None:
    for width in (60, 64, 256):
        assert _texts(TextPRF(depth=5, method="sw", width=width)) == _texts(TextPRF(depth=5, method="ct"))


def test_the_queries() -> None:
    texts = [c.document.text for c in _candidates(3)]
    assert _texts(TextPRF(method="ct"), 3) == [" ".join(["a query", *texts])]
    assert _texts(TextPRF(method="ca"), 3) == [f"a query {text}" for text in texts]
    assert _texts(TextPRF(method="ca", include_original=True), 3) == ["a query", *(f"a query {text}" for text in texts)]
    assert _texts(TextPRF(method="ca", depth=9), 3) == _texts(TextPRF(method="ca"), 3), "uses what there is"
    joined = " ".join(texts).split()  # 3 + 4 + 5 words
    windows = [joined[0:5], joined[3:8], joined[6:11], joined[9:12]]
    assert _texts(TextPRF(method="sw", width=5, stride=3), 3) == [" ".join(["a query", *w]) for w in windows]


def test_only_the_feedback_is_cut() -> None:
    query = Query("q", "a query of more words than the budget has", metadata={"language": "en"})
    (cut,) = TextPRF(method="ct", query_words=4).queries(query, _candidates(3))
    assert cut.text.split() == [*query.text.split(), *" ".join(c.document.text for c in _candidates(3)).split()[:4]]
    assert cut.metadata == query.metadata
    alone = TextPRF(method="ca", query_words=2).queries(query, _candidates(3))
    assert [q.text for q in alone] == [f"{query.text} {' '.join(c.document.text.split()[:2])}" for c in _candidates(3)]


@settings(deadline=None, max_examples=50)
@given(n=st.integers(0, 30), depth=st.integers(0, 6), width=st.integers(1, 20), stride=st.integers(1, 20))
def test_requests(n: int, depth: int, width: int, stride: int) -> None:
    words = sum(len(c.document.text.split()) for c in _candidates(n)[:depth])
    windows = max(1, ceil((words - width) / stride) + 1)
    for method, queries in (("ct", 1), ("ca", max(1, min(depth, n))), ("sw", windows)):
        for original in (False, True):
            for feedback in ("incoming", "reranked"):
                strategy = TextPRF(
                    depth=depth,
                    method=method,  # type: ignore[arg-type]
                    width=width,
                    stride=stride,
                    include_original=original,
                    feedback=feedback,  # type: ignore[arg-type]
                )
                log = drive(strategy, _candidates(n), overlap)
                more = (original and depth > 0) + (feedback == "reranked")
                assert len(log.requests) == n * (queries + more)
                assert len(log.rounds) == (n > 0) * (1 + (feedback == "reranked"))


def test_borda_does_not_see_the_scale_of_a_list() -> None:
    def scaled(request: Request) -> float:
        score = overlap(request)
        return exp(20 * score) if request.query.text == _texts(TextPRF())[1] else score

    log = drive(TextPRF(), _candidates(12), overlap)
    assert drive(TextPRF(), _candidates(12), scaled) == log
    assert drive(TextPRF(combine="average"), _candidates(12), scaled).order != log.order


@pytest.mark.parametrize("combine", ["average", "max", "borda"])
def test_equal_lists_give_that_list(combine: Any) -> None:
    plain = drive(ScoreAll(), _candidates(30), oracle(lambda i: float(i * 7 % 10)))
    for depth in (1, 3, 7):
        log = drive(TextPRF(combine=combine, depth=depth), _candidates(30), oracle(lambda i: float(i * 7 % 10)))
        assert log.order == plain.order


def test_borda_counts_places() -> None:
    lists = iter([3.0, 1.0, 2.0, 0.0, 1.0, 9.0])  # places 0 2 1 and 2 1 0
    log = drive(TextPRF(depth=2), _candidates(3), lambda _: next(lists))
    assert log.order == [2, 0, 1]
    assert log.scores == pytest.approx([2 / 3 + 1, 1 + 1 / 3, 1 / 3 + 2 / 3])


@pytest.mark.parametrize("combine", ["average", "max", "borda"])
def test_failed_answers_are_missing_in_their_list(combine: Any) -> None:
    first = _texts(TextPRF())[0]

    def answer(request: Request) -> float | None:
        i = number(request.candidates[0])
        if i == 3 or (i == 5 and request.query.text == first):
            return None
        return float(i)

    log = drive(TextPRF(combine=combine), _candidates(6), answer)
    assert log.order[-1] == 3, "no list has it"
    assert combine == "borda" or log.order[0] == 5


def test_feedback_may_come_from_the_reranked_list() -> None:
    log = drive(TextPRF(depth=1, feedback="reranked"), _candidates(9), oracle(float))
    assert {r.query.text for r in log.rounds[0]} == {"a query"}
    assert {r.query.text for r in log.rounds[1]} == {f"a query {_candidates(9)[8].document.text}"}
    stopped = drive(TextPRF(feedback="reranked"), _candidates(9), oracle(float), budget=1)
    assert stopped.order == list(reversed(range(9)))
