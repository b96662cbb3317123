"""The engine: permutations, exact counts, the store, and one bad strategy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.rerankers.engine import CHUNK, Engine
from rerankbench.rerankers.requests import Pointwise, Usage
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.strategies.identity import Identity
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.store import Store
from rerankbench.types import Document, Query, Run


@dataclass
class Table:
    """A scorer that looks answers up by document id, and remembers what it was asked."""

    answers: ClassVar[type[Any]] = Pointwise
    scores: dict[str, float | None]
    stored: bool = False
    usage: Usage = field(default_factory=Usage)
    asked: list[str] = field(default_factory=list)
    fail_after: int | None = None

    def answer(self, requests: Sequence[Pointwise]) -> list[float | None]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise RuntimeError("pulled the plug")
        self.asked += [f"{r.query.id}/{r.candidate.document.id}" for r in requests]
        return [self.scores[request.candidate.document.id] for request in requests]

    def fingerprint(self) -> str | None:
        return "table" if self.stored else None


def _world(n: int, queries: int = 1) -> tuple[list[Query], Run, dict[str, Document]]:
    documents = {f"d{i}": Document(f"d{i}", f"text {i}") for i in range(n)}
    run = {f"q{j}": [(f"d{i}", float(n - i)) for i in range(n)] for j in range(queries)}
    return [Query(f"q{j}", f"query {j}") for j in range(queries)], run, documents


scores = st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=30)


@given(values=scores, depth=st.one_of(st.none(), st.integers(0, 35)))
def test_output_is_a_permutation_with_scores_that_never_increase(values: list[float | None], depth: int | None) -> None:
    queries, run, documents = _world(len(values))
    table = Table({f"d{i}": value for i, value in enumerate(values)})
    engine = Engine(Reranker(strategy=ScoreAll(), scorer=table, depth=depth))
    ranking = engine.rerank(queries, run, documents)["q0"]
    assert sorted(d for d, _ in ranking) == sorted(documents)
    assert all(a[1] >= b[1] for a, b in pairwise(ranking))
    top = values[:depth]
    assert engine.counts.requests == len(top) == len(table.asked)
    assert engine.counts.parse_failures == sum(v is None or not math.isfinite(v) for v in top)
    assert [d for d, _ in ranking[len(top) :]] == [f"d{i}" for i in range(len(top), len(values))]


@given(values=st.lists(st.integers(0, 3), max_size=40))
def test_order_is_by_score_and_ties_keep_the_first_stage_order(values: list[int]) -> None:
    queries, run, documents = _world(len(values))
    table = Table({f"d{i}": float(value) for i, value in enumerate(values)})
    ranking = Engine(Reranker(strategy=ScoreAll(), scorer=table)).rerank(queries, run, documents)["q0"]
    assert [d for d, _ in ranking] == [f"d{i}" for i in sorted(range(len(values)), key=lambda i: (-values[i], i))]


def test_failed_answers_go_last_in_first_stage_order() -> None:
    queries, run, documents = _world(4)
    table = Table({"d0": None, "d1": 1.0, "d2": None, "d3": 2.0})
    ranking = Engine(Reranker(strategy=ScoreAll(), scorer=table)).rerank(queries, run, documents)["q0"]
    assert [d for d, _ in ranking] == ["d3", "d1", "d0", "d2"]


def test_identity_keeps_order_and_scores() -> None:
    queries, run, documents = _world(5, queries=2)
    engine = Engine(Reranker(strategy=Identity(), depth=3))
    assert engine.rerank(queries, run, documents) == run
    assert engine.counts.requests == 0


def test_constant_scores_are_counted() -> None:
    queries, run, documents = _world(3, queries=2)
    engine = Engine(Reranker(strategy=ScoreAll(), scorer=Table(dict.fromkeys(documents, 0.5))))
    assert engine.rerank(queries, run, documents).keys() == run.keys()
    assert engine.counts.constant_scores == 2


def test_answers_come_from_the_store_the_second_time(tmp_path: Path) -> None:
    queries, run, documents = _world(6, queries=3)
    values: dict[str, float | None] = {f"d{i}": float(i % 4) for i in range(6)}
    first = Engine(Reranker(strategy=ScoreAll(), scorer=Table(values, stored=True)), Store(tmp_path))
    expected = first.rerank(queries, run, documents)
    table = Table(values, stored=True)
    second = Engine(Reranker(strategy=ScoreAll(), scorer=table), Store(tmp_path))
    assert second.rerank(queries, run, documents) == expected
    assert (table.asked, second.counts.cache_hits, second.counts.requests) == ([], 18, 18)


def test_a_crash_loses_no_finished_chunk(tmp_path: Path) -> None:
    queries, run, documents = _world(CHUNK, queries=3)
    values: dict[str, float | None] = {d: float(len(d)) for d in documents}
    crashing = Table(values, stored=True, fail_after=CHUNK)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        Engine(Reranker(strategy=ScoreAll(), scorer=crashing), Store(tmp_path)).rerank(queries, run, documents)
    table = Table(values, stored=True)
    engine = Engine(Reranker(strategy=ScoreAll(), scorer=table), Store(tmp_path))
    engine.rerank(queries, run, documents)
    assert not set(table.asked) & set(crashing.asked)
    assert len(table.asked) + len(crashing.asked) == 3 * CHUNK
    assert engine.counts.cache_hits == CHUNK


def test_a_strategy_that_loses_a_document_is_an_error() -> None:
    class Loses(Identity):
        def rank(self, query: Any, candidates: Any) -> Any:
            ranking = yield from super().rank(query, candidates)
            return type(ranking)(ranking.candidates[:1] * len(ranking.candidates), ranking.scores)

    queries, run, documents = _world(3)
    with pytest.raises(RuntimeError, match="permutation"):
        Engine(Reranker(strategy=Loses())).rerank(queries, run, documents)
