"""A cascade: what each part is asked, and where everything ends up."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.rerankers.cascade import Cascade
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.strategies.identity import Identity
from rerankbench.types import Run
from tests.configured import refused
from tests.rerankers.composed_world import NODE, order, table, world


def _reranked(reranker: Any, n: int, queries: int = 1) -> Run:
    return Engine().rerank(reranker, *world(n, queries))


@pytest.mark.parametrize(("n", "requests"), [(0, 0), (1, 2), (2, 4), (5, 10), (20, 30), (100, 110), (137, 147)])
def test_requests(n: int, requests: int) -> None:
    engine = Engine()
    cascade = Cascade(first=table(*range(n)), second=table(*range(n)), keep=10)
    assert order(engine.rerank(cascade, *world(n))) == list(reversed(range(n)))
    assert engine.counts.requests == requests


def test_the_second_sees_the_best_of_the_first_and_the_rest_follows() -> None:
    first, second = table(0, 1, 2, 3, 4, 5), table(0, 0, 0, 7, 9, 8)
    run = _reranked(Cascade(first=first, second=second, keep=3), 6)
    second_scorer: Any = second.scorer
    assert second_scorer.asked == ["d5", "d4", "d3"], "ranked by the first"
    assert order(run) == [4, 5, 3, 2, 1, 0]
    assert [score for _, score in run["q0"]] == [9, 8, 7, 6, 5, 4]


def test_ties_and_failures_of_the_second_keep_the_order_of_the_first() -> None:
    first = table(0, 1, 2, 3, 4, 5)
    assert order(_reranked(Cascade(first=first, second=table(*[1.0] * 6), keep=4), 6)) == [5, 4, 3, 2, 1, 0]
    assert order(_reranked(Cascade(first=first, second=table(*[None] * 6), keep=4), 6)) == [5, 4, 3, 2, 1, 0]
    assert order(_reranked(Cascade(first=first, second=table(0, 0, 1, None, None, 2), keep=4), 6)) == [5, 2, 4, 3, 1, 0]
    assert order(_reranked(Cascade(first=table(*[None] * 6), second=table(*[None] * 6), keep=4), 6)) == [*range(6)]


def test_keeping_all_is_the_second_and_depth_leaves_the_tail() -> None:
    first, second = table(5, 1, 4, 2, 3), table(1, 5, 2, 4, 3)
    assert order(_reranked(Cascade(first=first, second=second, keep=5), 5)) == order(_reranked(second, 5))
    cut = _reranked(Cascade(first=first, second=second, keep=2, depth=3), 5)
    assert order(cut) == [2, 0, 1, 3, 4]
    nothing = Cascade(first=first, second=second, depth=0)
    assert _reranked(nothing, 5) == world(5)[1]


def test_an_identity_first_is_the_second_at_that_depth() -> None:
    second = table(1, 5, 2, 4, 3)
    cascade = Cascade(first=Reranker(strategy=Identity()), second=second, keep=3)
    alone = Reranker(strategy=second.strategy, scorer=second.scorer, depth=3)
    assert _reranked(cascade, 5) == _reranked(alone, 5)


def test_cascades_nest() -> None:
    inner = Cascade(first=table(0, 1, 2, 3), second=table(0, 0, 1, 0), keep=2)
    assert order(_reranked(Cascade(first=inner, second=table(9, 9, 1, 2), keep=2), 4)) == [3, 2, 1, 0]


values = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-3, 3))] * 2), max_size=20)


@settings(deadline=None)
@given(scores=values, keep=st.integers(1, 25), depth=st.one_of(st.none(), st.integers(0, 25)))
def test_a_permutation_with_scores_that_never_increase(scores: Any, keep: int, depth: int | None) -> None:
    first, second = table(*(a for a, _ in scores)), table(*(b for _, b in scores))
    run = _reranked(Cascade(first=first, second=second, keep=keep, depth=depth), len(scores), queries=2)
    for ranked in run.values():
        assert sorted(d for d, _ in ranked) == sorted(f"d{i}" for i in range(len(scores)))
        assert all(a[1] >= b[1] for a, b in pairwise(ranked))


@pytest.mark.parametrize(("options", "key"), [({"keep": 0}, "keep"), ({"depth": -1}, "depth")])
def test_options_out_of_range(options: Any, key: str) -> None:
    assert refused(Cascade, first=NODE, second=NODE, **options) == key
