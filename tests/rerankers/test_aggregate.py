"""Fusing rerankers: the formulas, their identities, and what happens to ties and tails."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.rerankers.aggregate import Aggregate
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorers.oracle import Oracle
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Run
from tests.configured import refused
from tests.rerankers.composed_world import NODE, order, table, world

METHODS = ["borda", "rrf", "mean"]


def _reranked(reranker: Any, n: int, queries: int = 1) -> Run:
    return Engine().rerank(reranker, *world(n, queries))


def _fused(method: Any, *rerankers: Reranker, **options: Any) -> Aggregate:
    return Aggregate(rerankers={f"r{i}": one for i, one in enumerate(rerankers)}, method=method, **options)


A, B = (9.0, 5.0, 1.0, 3.0), (0.1, 0.9, 0.8, 0.5)  # orders 0 1 3 2 and 1 2 3 0


def test_the_formulas() -> None:
    def fused(method: str, **options: Any) -> dict[str, float]:
        return dict(_reranked(_fused(method, table(*A), table(*B), **options), 4)["q0"])

    assert fused("borda") == {"d0": 4 + 1, "d1": 3 + 4, "d2": 1 + 3, "d3": 2 + 2}
    rrf = {"d0": 1 / 61 + 1 / 64, "d1": 1 / 62 + 1 / 61, "d2": 1 / 64 + 1 / 62, "d3": 1 / 63 + 1 / 63}
    assert fused("rrf") == pytest.approx(rrf)
    assert fused("rrf", rrf_k=0)["d0"] == pytest.approx(1 + 1 / 4)
    mean = {"d0": (1 + 0) / 2, "d1": (0.5 + 1) / 2, "d2": (0 + 7 / 8) / 2, "d3": (1 / 4 + 1 / 2) / 2}
    assert fused("mean") == pytest.approx(mean)


@pytest.mark.parametrize("method", METHODS)
def test_one_list_and_equal_lists_fuse_to_themselves(method: str) -> None:
    scores = (3.0, 7.0, 7.0, 1.0, 5.0)
    expected = order(_reranked(table(*scores), 5))
    for copies in (1, 2, 5):
        assert order(_reranked(_fused(method, *[table(*scores)] * copies), 5)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_rerankers_does_not_matter(method: str) -> None:
    parts = [table(*A), table(*B), table(1.0, 2.0, 3.0, 4.0), table(0.3, 0.3, 0.1, 0.2)]
    runs = [_reranked(_fused(method, *some), 4) for some in permutations(parts)]
    assert all(run == runs[0] for run in runs)


@pytest.mark.parametrize("method", METHODS)
def test_opposite_lists_cancel_where_places_count_and_ties_keep_the_first_stage(method: str) -> None:
    run = _reranked(_fused(method, table(0.0, 1.0), table(1.0, 0.0)), 2)
    assert order(run) == [0, 1]
    assert run["q0"][0][1] == run["q0"][1][1]


def test_a_list_that_cannot_tell_documents_apart_has_no_say_in_the_mean() -> None:
    alone = _reranked(_fused("mean", table(*A)), 4)
    with_constant = _reranked(_fused("mean", table(*A), table(7.0, 7.0, 7.0, 7.0)), 4)
    assert order(with_constant) == order(alone)
    assert with_constant["q0"][0][1] == (1 + 0.5) / 2


def test_depth_leaves_the_tail_and_inner_depths_are_the_rerankers_own() -> None:
    cut = _reranked(_fused("borda", table(*A), table(*B), depth=2), 4)
    assert order(cut) == [0, 1, 2, 3]
    assert [score for _, score in cut["q0"]] == [3, 3, 2, 1]
    inner = _reranked(_fused("borda", table(*B, depth=2)), 4)
    assert order(inner) == [1, 0, 2, 3]
    assert _reranked(_fused("rrf", table(*A), depth=0), 4) == world(4)[1]


def test_aggregates_nest() -> None:
    inner: Any = _fused("borda", table(*A))
    assert order(_reranked(_fused("rrf", inner), 4)) == order(_reranked(table(*A), 4))


values = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-3, 3))] * 3), max_size=20)


@settings(deadline=None)
@given(scores=values, method=st.sampled_from(METHODS), depth=st.one_of(st.none(), st.integers(0, 25)))
def test_a_permutation_with_scores_that_never_increase(scores: Any, method: str, depth: int | None) -> None:
    rerankers = [table(*(row[i] for row in scores)) for i in range(3)]
    run = _reranked(_fused(method, *rerankers, depth=depth), len(scores), queries=2)
    for ranked in run.values():
        assert sorted(d for d, _ in ranked) == sorted(f"d{i}" for i in range(len(scores)))
        assert all(a[1] >= b[1] for a, b in pairwise(ranked))
        assert order(run)[len(scores[:depth]) :] == list(range(len(scores[:depth]), len(scores)))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"rerankers": {}}, "rerankers"),
        ({"rerankers": {"a": NODE}, "depth": -1}, "depth"),
        ({"rerankers": {"a": NODE}, "rrf_k": -1}, "rrf_k"),
    ],
)
def test_options_out_of_range(options: Any, key: str) -> None:
    assert refused(Aggregate, **options) == key


def test_rerankers_with_equal_scorers_may_be_fused() -> None:
    benchmark: Any = Benchmark("toy", (), {"q0": {"d2": 1}}, corpus=None)  # type: ignore[arg-type]
    first, second = (Reranker(strategy=ScoreAll(), scorer=Oracle(benchmark=benchmark)) for _ in range(2))
    assert first.scorer == second.scorer
    assert order(_reranked(_fused("rrf", first, second), 4)) == [2, 0, 1, 3]
