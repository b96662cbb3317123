"""The engine: permutations, exact counts, the store, and one bad strategy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError, tell_place
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Failure, Groupwise, Pointwise, Repaired, Rounds, by_score
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.strategies.groupwise import Groups
from rerankbench.rerankers.strategies.identity import Identity
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.transcript import Transcript
from rerankbench.store import Store
from rerankbench.types import Candidate, Document, Picture, Query, Run
from rerankbench.usage import Usage

CHUNK = Scorer.chunk


@dataclass
class Table(Scorer):
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
    engine = Engine()
    ranking = engine.rerank(Reranker(strategy=ScoreAll(), scorer=table, depth=depth), queries, run, documents)["q0"]
    assert sorted(d for d, _ in ranking) == sorted(documents)
    assert all(a[1] >= b[1] for a, b in pairwise(ranking))
    top = values[:depth]
    assert engine.counts.requests == len(top) == len(table.asked)
    assert engine.counts.failures.total() == sum(v is None or not math.isfinite(v) for v in top)
    assert [d for d, _ in ranking[len(top) :]] == [f"d{i}" for i in range(len(top), len(values))]


@given(values=st.lists(st.integers(0, 3), max_size=40))
def test_order_is_by_score_and_ties_keep_the_first_stage_order(values: list[int]) -> None:
    queries, run, documents = _world(len(values))
    table = Table({f"d{i}": float(value) for i, value in enumerate(values)})
    ranking = Engine().rerank(Reranker(strategy=ScoreAll(), scorer=table), queries, run, documents)["q0"]
    assert [d for d, _ in ranking] == [f"d{i}" for i in sorted(range(len(values)), key=lambda i: (-values[i], i))]


def test_failed_answers_go_last_in_first_stage_order() -> None:
    queries, run, documents = _world(4)
    table = Table({"d0": None, "d1": 1.0, "d2": None, "d3": 2.0})
    ranking = Engine().rerank(Reranker(strategy=ScoreAll(), scorer=table), queries, run, documents)["q0"]
    assert [d for d, _ in ranking] == ["d3", "d1", "d0", "d2"]


def test_identity_keeps_order_and_scores() -> None:
    queries, run, documents = _world(5, queries=2)
    engine = Engine()
    assert engine.rerank(Reranker(strategy=Identity(), depth=3), queries, run, documents) == run
    assert engine.counts.requests == 0


def test_constant_scores_are_counted() -> None:
    queries, run, documents = _world(3, queries=2)
    engine = Engine()
    reranker = Reranker(strategy=ScoreAll(), scorer=Table(dict.fromkeys(documents, 0.5)))
    assert engine.rerank(reranker, queries, run, documents).keys() == run.keys()
    assert engine.counts.constant_scores == 2


def test_answers_come_from_the_store_the_second_time(tmp_path: Path) -> None:
    queries, run, documents = _world(6, queries=3)
    values: dict[str, float | None] = {f"d{i}": float(i % 4) for i in range(6)}
    first = Reranker(strategy=ScoreAll(), scorer=Table(values, stored=True))
    expected = Engine(Store(tmp_path)).rerank(first, queries, run, documents)
    table = Table(values, stored=True)
    second = Engine(Store(tmp_path))
    assert second.rerank(Reranker(strategy=ScoreAll(), scorer=table), queries, run, documents) == expected
    assert (table.asked, second.counts.cache_hits, second.counts.requests) == ([], 18, 18)


def test_a_crash_loses_no_finished_chunk(tmp_path: Path) -> None:
    queries, run, documents = _world(CHUNK, queries=3)
    values: dict[str, float | None] = {d: float(len(d)) for d in documents}
    crashing = Table(values, stored=True, fail_after=CHUNK)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        Engine(Store(tmp_path)).rerank(Reranker(strategy=ScoreAll(), scorer=crashing), queries, run, documents)
    table = Table(values, stored=True)
    engine = Engine(Store(tmp_path))
    engine.rerank(Reranker(strategy=ScoreAll(), scorer=table), queries, run, documents)
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
        Engine().rerank(Reranker(strategy=Loses()), queries, run, documents)


@dataclass(frozen=True, kw_only=True)
class OneByOne:
    """Asks for one candidate after another, in as many rounds; stopped, it keeps what it knows."""

    asks: ClassVar[Any] = Pointwise

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        scores: dict[str, float | None] = {}
        for candidate in candidates:
            answers = yield [Pointwise(query, candidate)]
            if answers is None:
                break
            scores[candidate.document.id] = answers[0]
        return by_score(candidates, scores)


@given(n=st.integers(0, 12), limit=st.integers(1, 15))
def test_a_budget_stops_a_query_with_its_best_order_so_far(n: int, limit: int) -> None:
    queries, run, documents = _world(n, queries=2)
    table = Table({f"d{i}": float(i) for i in range(n)})
    engine = Engine()
    reranker = Reranker(strategy=OneByOne(), scorer=table, max_requests=limit)
    order = [d for d, _ in engine.rerank(reranker, queries, run, documents)["q1"]]
    asked = min(n, limit)
    assert order == [f"d{i}" for i in [*reversed(range(asked)), *range(asked, n)]]
    assert engine.counts.requests == 2 * asked
    assert engine.counts.rounds == asked
    assert engine.counts.budget_stops == (2 if n > limit else 0)


def test_a_round_that_would_pass_the_budget_is_not_asked_at_all() -> None:
    queries, run, documents = _world(5)
    table = Table(dict.fromkeys(documents, 1.0))
    engine = Engine()
    reranker = Reranker(strategy=ScoreAll(), scorer=table, max_requests=4)
    assert [d for d, _ in engine.rerank(reranker, queries, run, documents)["q0"]] == list(documents)
    assert (table.asked, engine.counts.requests, engine.counts.budget_stops) == ([], 0, 1)


def test_a_token_budget_needs_a_scorer_that_can_tell() -> None:
    queries, run, documents = _world(4)

    @dataclass
    class Weighed(Table):
        def tokens(self, request: Pointwise) -> int:
            return 10

    engine = Engine()
    table = Weighed(dict.fromkeys(documents, 1.0))
    engine.rerank(Reranker(strategy=OneByOne(), scorer=table, max_tokens=25), queries, run, documents)
    assert engine.counts.requests == 2
    reranker = Reranker(strategy=OneByOne(), scorer=Table({}), max_tokens=25)
    tell_place(reranker, "reranker.first")
    with pytest.raises(ConfigError, match=r"^reranker\.first\.max_tokens: "):
        Engine().rerank(reranker, queries, run, documents)


@dataclass
class Mending(Table):
    """Fails, mends or answers, by document."""

    def answer(self, requests: Sequence[Pointwise]) -> Any:
        self.asked += [r.candidate.document.id for r in requests]
        kinds = {"d0": Failure("no label"), "d1": Repaired(5.0, "duplicates"), "d2": 9.0}
        return [kinds[r.candidate.document.id] for r in requests]


def test_failures_and_repairs_are_counted_by_kind_also_when_they_come_from_the_store(tmp_path: Path) -> None:
    queries, run, documents = _world(3, queries=2)
    for asked in (6, 0):
        table = Mending({}, stored=True)
        engine = Engine(Store(tmp_path))
        found = engine.rerank(Reranker(strategy=ScoreAll(), scorer=table), queries, run, documents)
        assert found["q0"] == [("d2", 9.0), ("d1", 5.0), ("d0", 4.0)]
        assert len(table.asked) == asked
        assert dict(engine.counts.failures) == {"no label": 2}
        assert dict(engine.counts.repairs) == {"duplicates": 2}


def test_a_transcript_keeps_prompts_and_answers_and_marks_what_was_stored(tmp_path: Path) -> None:
    class Talking(Table):
        def answer(self, requests: Sequence[Pointwise]) -> list[float | None]:
            found = super().answer(requests)
            if self.record is not None:
                for request, answer in zip(requests, found, strict=True):
                    self.record(request, f"prompt for {request.candidate.document.id}", f"raw {answer}")
            return found

    queries, run, documents = _world(2)
    for _ in range(2):
        table = Talking(dict.fromkeys(documents, 1.0), stored=True)
        engine = Engine(Store(tmp_path), Transcript(tmp_path / "answers.jsonl"))
        engine.rerank(Reranker(strategy=ScoreAll(), scorer=table), queries, run, documents)
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line.get("prompt") for line in lines] == ["prompt for d0", "prompt for d1", None, None]
    assert [line.get("answer") for line in lines] == ["raw 1.0", "raw 1.0", None, None]
    assert [line.get("stored") for line in lines[2:]] == [1.0, 1.0]
    assert lines[0]["documents"] == ["d0"]


def test_a_request_asked_twice_in_a_round_is_answered_once(tmp_path: Path) -> None:
    documents = {"a": Document("a", "same text"), "b": Document("b", "same text")}
    table = Table({"a": 1.0, "b": 1.0}, stored=True)
    engine = Engine(Store(tmp_path))
    engine.rerank(
        Reranker(strategy=ScoreAll(), scorer=table), [Query("q", "x")], {"q": [("a", 2.0), ("b", 1.0)]}, documents
    )
    assert len(table.asked) == 1
    assert (engine.counts.requests, engine.counts.cache_hits) == (2, 1)


def test_scores_of_a_group_that_are_not_finite_are_missing_and_counted() -> None:
    @dataclass
    class Odd(Table):
        answers: ClassVar[Any] = Groupwise

        def answer(self, requests: Sequence[Any]) -> list[Any]:
            return [[math.nan, 1.0, math.inf] for _ in requests]

    engine = Engine()
    found = engine.rerank(Reranker(strategy=Groups(), scorer=Odd({})), *_world(3))
    assert found["q0"] == [("d1", 1.0), ("d0", 0.0), ("d2", -1.0)]
    assert dict(engine.counts.repairs) == {"not a finite number": 1}


def test_a_budget_of_tokens_means_nothing_where_nothing_is_asked() -> None:
    queries, run, documents = _world(2)
    assert Engine().rerank(Reranker(strategy=Identity(), max_tokens=1), queries, run, documents) == run


def test_numbers_of_numpy_and_torch_are_numbers(tmp_path: Path) -> None:
    import numpy as np
    import torch

    table: Any = Table({"d0": np.float32(1), "d1": torch.tensor(2.0), "d2": np.float32("nan")}, stored=True)
    engine = Engine(Store(tmp_path))
    found = engine.rerank(Reranker(strategy=ScoreAll(), scorer=table), *_world(3))
    assert found["q0"] == [("d1", 2.0), ("d0", 1.0), ("d2", 0.0)]
    assert dict(engine.counts.failures) == {"not a finite number": 1}


def test_a_scorer_prepares_for_all_requests_also_for_those_that_are_stored(tmp_path: Path) -> None:
    @dataclass
    class Remembering(Table):
        chunk: ClassVar[int] = 3
        prepared: list[list[str]] = field(default_factory=list)

        def prepare(self, requests: Sequence[Pointwise]) -> None:
            self.prepared.append([f"{r.query.id}/{r.candidate.document.id}" for r in requests])

    queries, run, documents = _world(4, queries=2)
    values: dict[str, float | None] = {d: float(i) for i, d in enumerate(documents)}
    crashing = Remembering(values, stored=True, fail_after=6)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        Engine(Store(tmp_path)).rerank(Reranker(strategy=ScoreAll(), scorer=crashing), queries, run, documents)
    again = Remembering(values, stored=True)
    Engine(Store(tmp_path)).rerank(Reranker(strategy=ScoreAll(), scorer=again), queries, run, documents)
    assert again.prepared == crashing.prepared
    assert [len(part) for part in again.prepared] == [3, 3, 2]
    assert len(again.asked) == 2


@pytest.mark.parametrize("what", ["first_stage", "metadata.date", "instruction", "pictures", "ids"])
def test_the_store_asks_again_where_what_the_scorer_reads_has_changed_and_nowhere_else(
    what: str, tmp_path: Path
) -> None:
    """Of two runs that differ in one thing the second is answered by the store unless the scorer reads that thing."""
    picture = Picture(b"a picture")

    def ask(reads: frozenset[str], changed: bool) -> int:
        class Reading(Table):
            def answer(self, requests: Sequence[Pointwise]) -> list[float | None]:
                self.asked += [r.candidate.document.id for r in requests]
                return [1.0 for _ in requests]

            def fingerprint(self) -> str:
                return f"reading {sorted(reads)}"

        Reading.reads = reads
        name = "new" if changed and what == "ids" else "old"
        parts = ["text", picture] if changed and what == "pictures" else ["text"]
        metadata = {"date": 2026 if changed and what == "metadata.date" else 2025, "unread": changed}
        query = Query("q", "query", "be brief" if changed and what == "instruction" else "")
        scorer = Reading({})
        score = 7.0 if changed and what == "first_stage" else 3.0
        documents = {name: Document(name, parts, metadata)}
        engine = Engine(Store(tmp_path))
        engine.rerank(Reranker(strategy=ScoreAll(), scorer=scorer), [query], {"q": [(name, score)]}, documents)
        return len(scorer.asked)

    for reads, again in ((frozenset({"text"}), 0), (frozenset({"text", what}), 1)):
        assert [ask(reads, changed=False), ask(reads, changed=False), ask(reads, changed=True)] == [1, 0, again]
