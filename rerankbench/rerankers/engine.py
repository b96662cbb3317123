"""The engine drives a strategy over all queries side by side, and stands between it and the scorer.

In each round it collects what the strategies of all queries ask, looks each request up in the store, hands the rest to
the scorer in chunks sorted by length, stores the answers, and sends them back. So batching across queries, crash
resumption and counting exist once, for every strategy with every scorer.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from rerankbench.progress import bar
from rerankbench.rerankers.requests import Answer, Request, Scorer
from rerankbench.rerankers.reranker import Reranker
from rerankbench.store import Store, content_hash
from rerankbench.types import Candidate, Document, Query, Ranking, Run

CHUNK = 512
"""Requests handed to the scorer at a time. An answer is safe in the store as soon as its chunk is done, and a fixed
size keeps the batches, hence the last bits of the scores, the same in an interrupted run and an undisturbed one."""


@dataclass
class Counts:
    """What reranking took. `query_seconds` shares each chunk's time among the queries that asked in it."""

    requests: int = 0
    rounds: int = 0
    cache_hits: int = 0
    parse_failures: int = 0
    constant_scores: int = 0
    """Queries with several candidates that all got one score: the sign of a scorer that cannot tell documents apart."""
    query_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Live:
    """A strategy at work on one query."""

    query: Query
    generator: Generator[list[Request], list[Answer], Ranking]
    asked: list[Request]


class Engine:
    """Reranks runs with one reranker; `counts` and the scorer's `usage` add up over its life."""

    def __init__(self, reranker: Reranker, store: Store | None = None) -> None:
        self.reranker = reranker
        self.store = store
        self.counts = Counts()
        self._fingerprint: str | None = None

    def rerank(self, queries: Sequence[Query], first_stage: Run, documents: Mapping[str, Document]) -> Run:
        """The first-stage run with the top `depth` of every query reranked.

        Each list is a permutation of the first stage's. Documents are looked up by id; all must be there.
        """
        depth = self.reranker.depth
        rankings: dict[str, Ranking] = {}
        live: list[_Live] = []
        for query in queries:
            top = first_stage[query.id][:depth]
            candidates = tuple(Candidate(documents[d], rank, score) for rank, (d, score) in enumerate(top))
            self.counts.query_seconds[query.id] = 0.0
            self._advance(_Live(query, self.reranker.strategy.rank(query, candidates), []), None, live, rankings)
        while live:
            self.counts.rounds += 1
            answers = iter(self._answer([request for one in live for request in one.asked]))
            still: list[_Live] = []
            for one in live:
                self._advance(one, [next(answers) for _ in one.asked], still, rankings)
            live = still
        return {query.id: _with_tail(rankings[query.id], first_stage[query.id]) for query in queries}

    def _advance(
        self, one: _Live, answers: list[Answer] | None, live: list[_Live], rankings: dict[str, Ranking]
    ) -> None:
        """Send a strategy its answers; it either asks again or is done."""
        try:
            one.asked = next(one.generator) if answers is None else one.generator.send(answers)
            live.append(one)
        except StopIteration as done:
            rankings[one.query.id] = done.value
            scores = set(done.value.scores)
            self.counts.constant_scores += self.reranker.scorer is not None and len(done.value.scores) > 1 == len(
                scores
            )

    def _answer(self, requests: Sequence[Request]) -> list[Answer]:
        scorer = self.reranker.scorer
        if scorer is None or not requests:
            return []
        self.counts.requests += len(requests)
        keys = self._keys(scorer, requests)
        known = self.store.answers(keys) if self.store and self._fingerprint else {}
        self.counts.cache_hits += sum(key in known for key in keys)
        todo = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        order = sorted(todo, key=lambda key: (_length(todo[key]), key))
        with bar("rerank", len(order)) as advance:
            for start in range(0, len(order), CHUNK):
                part = order[start : start + CHUNK]
                known.update(self._answer_chunk(scorer, {key: todo[key] for key in part}))
                advance(len(part))
        answers = [known[key] for key in keys]
        self.counts.parse_failures += sum(answer is None for answer in answers)
        return answers

    def _answer_chunk(self, scorer: Scorer, chunk: Mapping[str, Request]) -> dict[str, Answer]:
        began = perf_counter()
        answers = dict(zip(chunk, map(_finite, scorer.answer(list(chunk.values()))), strict=True))
        share = (perf_counter() - began) / len(chunk)
        for request in chunk.values():
            self.counts.query_seconds[request.query.id] += share
        if self.store and self._fingerprint:
            self.store.add_answers(answers)
        return answers

    def _keys(self, scorer: Scorer, requests: Sequence[Request]) -> list[str]:
        """One key a request: of its content where answers are stored, else of its documents' ids."""
        if self._fingerprint is None:
            self._fingerprint = scorer.fingerprint() or ""
        kind = type(requests[0]).__name__
        if self._fingerprint:
            return [
                content_hash(self._fingerprint, kind, r.query.text, [c.document.text for c in r.candidates])
                for r in requests
            ]
        return [content_hash(kind, r.query.id, [c.document.id for c in r.candidates]) for r in requests]


def _finite(answer: Answer) -> Answer:
    """NaN and infinite scores are failures: they have no place in an order."""
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


def _length(request: Request) -> int:
    """Characters the scorer will read, about; equal texts come out side by side."""
    return len(request.query.text) + sum(len(candidate.document.text) for candidate in request.candidates)


def _with_tail(ranking: Ranking, first_stage: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The reranked candidates, then the ones below `depth` in first-stage order, scored below the last, one apart."""
    head = [(c.document.id, s) for c, s in zip(ranking.candidates, ranking.scores, strict=True)]
    tail = first_stage[len(head) :]
    if {document for document, _ in head} != {document for document, _ in first_stage[: len(head)]}:
        raise RuntimeError("the strategy did not return a permutation of its candidates")
    if head and tail and all(score == first[1] for (_, score), first in zip(head, first_stage, strict=False)):
        return [*head, *tail]  # the scores are the first stage's own: nothing to shift
    floor = head[-1][1] if head else 0.0
    return [*head, *((document, floor - 1 - i) for i, (document, _) in enumerate(tail))] if head else list(tail)
