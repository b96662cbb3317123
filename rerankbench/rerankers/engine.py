"""The engine drives a strategy over all queries side by side, and stands between it and the scorer.

In each round it collects what the strategies of all queries ask, looks each request up in the store, hands the rest to
the scorer in chunks, stores the answers, and sends them back. So batching across queries, crash resumption, budgets and
counting exist once, for every strategy with every scorer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from rerankbench.errors import ConfigError
from rerankbench.progress import Advance, bar
from rerankbench.rerankers.requests import Answer, Failure, Listwise, Repaired, Request, Rounds, Scorer
from rerankbench.rerankers.reranker import AnyReranker, Reranker
from rerankbench.rerankers.transcript import Transcript
from rerankbench.store import Store, content_hash
from rerankbench.types import Candidate, Document, Query, Ranking, Run

CHUNK = 512
"""Requests handed to a scorer at a time, unless it has a `chunk` of its own. An answer is safe in the store as soon as
its chunk is done, and a fixed size in a fixed order keeps the batches, hence the last bits of the scores, the same in
an interrupted run and an undisturbed one."""


@dataclass
class Counts:
    """What reranking took. `query_seconds` shares each chunk's time among the queries that asked in it."""

    requests: int = 0
    """What the strategies asked, before the store."""
    rounds: int = 0
    """The sequential depth: rounds that cannot be asked side by side."""
    cache_hits: int = 0
    """Requests that no scorer had to answer: known from before, or asked twice in one round."""
    failures: Counter[str] = field(default_factory=Counter)
    """Answers that could not be used, by kind."""
    repairs: Counter[str] = field(default_factory=Counter)
    """Answers that could be used after mending, by kind."""
    budget_stops: int = 0
    """Queries whose budget was spent before their strategy was done."""
    constant_scores: int = 0
    """Queries with several candidates that all got one score: the sign of a scorer that cannot tell documents apart."""
    query_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Live:
    """A strategy at work on one query."""

    query: Query
    generator: Rounds
    asked: list[Request]
    requests: int = 0
    tokens: int = 0


class Engine:
    """Reranks runs; `counts`, and the usage of the `scorers` it met, add up over its life."""

    def __init__(self, store: Store | None = None, transcript: Transcript | None = None) -> None:
        self.store = store
        self.transcript = transcript
        self.counts = Counts()
        self.scorers: list[Scorer] = []
        self._fingerprints: dict[int, str] = {}

    def rerank(
        self, reranker: AnyReranker, queries: Sequence[Query], first_stage: Run, documents: Mapping[str, Document]
    ) -> Run:
        """The first-stage run with the top `depth` of every query reranked.

        Each list is a permutation of the first stage's. Documents are looked up by id; all must be there.
        """
        if not isinstance(reranker, Reranker):  # made of other rerankers, each of which comes back here
            return reranker.rerank(self.rerank, queries, first_stage, documents)
        scorer = self._meet(reranker)
        rankings: dict[str, Ranking] = {}
        live: list[_Live] = []
        for query in queries:
            top = first_stage[query.id][: reranker.depth]
            candidates = tuple(Candidate(documents[d], rank, score) for rank, (d, score) in enumerate(top))
            self.counts.query_seconds.setdefault(query.id, 0.0)
            live.append(_Live(query, reranker.strategy.rank(query, candidates), []))
        live = [one for one in live if self._advance(one, None, rankings)]
        with bar("rerank", 0) as advance:
            while live:
                live = self._stop_the_spent(reranker, scorer, live, rankings)
                self.counts.rounds += bool(live)
                answers = iter(self._answer(scorer, [request for one in live for request in one.asked], advance))
                live = [one for one in live if self._advance(one, [next(answers) for _ in one.asked], rankings)]
        for ranking in rankings.values():
            scores = ranking.scores
            self.counts.constant_scores += scorer is not None and len(scores) > 1 and scores[0] == scores[-1]
        return {query.id: with_tail(rankings[query.id], first_stage[query.id]) for query in queries}

    def _meet(self, reranker: Reranker) -> Scorer | None:
        scorer = reranker.asked
        if scorer is not None and id(scorer) not in self._fingerprints:  # two may be equal: scorers are dataclasses
            self.scorers.append(scorer)
            self._fingerprints[id(scorer)] = scorer.fingerprint() or ""
            if self.transcript is not None and hasattr(scorer, "transcript"):
                scorer.transcript = self.transcript.add
        if reranker.max_tokens is not None and scorer is not None and not hasattr(scorer, "tokens"):
            raise ConfigError("reranker.max_tokens", "this scorer cannot tell its tokens beforehand; use max_requests")
        return scorer

    def _advance(self, one: _Live, answers: list[Answer] | None, rankings: dict[str, Ranking]) -> bool:
        """Send a strategy its answers, None at its start; whether it asks again."""
        try:
            one.asked = next(one.generator) if answers is None else one.generator.send(answers)
        except StopIteration as done:
            rankings[one.query.id] = done.value
            return False
        return True

    def _stop_the_spent(
        self, reranker: Reranker, scorer: Scorer | None, live: list[_Live], rankings: dict[str, Ranking]
    ) -> list[_Live]:
        """The queries whose next round is within the budget; the others end with their best order so far."""
        if reranker.max_requests is None and reranker.max_tokens is None:
            return live
        within = []
        for one in live:
            requests = one.requests + len(one.asked)
            tokens = one.tokens
            if reranker.max_tokens is not None:
                counted: Any = scorer
                tokens += sum(counted.tokens(request) for request in one.asked)
            if requests <= (reranker.max_requests or math.inf) and tokens <= (reranker.max_tokens or math.inf):
                one.requests, one.tokens = requests, tokens
                within.append(one)
                continue
            self.counts.budget_stops += 1
            try:
                one.generator.send(None)
            except StopIteration as done:
                rankings[one.query.id] = done.value
            else:
                raise RuntimeError("the strategy goes on asking although its budget is spent")
        return within

    def _answer(self, scorer: Scorer | None, requests: Sequence[Request], advance: Advance) -> list[Answer]:
        if scorer is None or not requests:
            return []
        stored = self.store if self._fingerprints[id(scorer)] else None
        keys = self._keys(scorer, requests)
        known = stored.answers(keys) if stored else {}
        todo = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        self.counts.requests += len(requests)
        self.counts.cache_hits += len(requests) - len(todo)
        if self.transcript is not None:
            for key, request in dict(zip(keys, requests, strict=True)).items():
                if key in known:
                    self.transcript.add(request, None, known[key])
        advance(0, len(todo))
        size = getattr(scorer, "chunk", CHUNK)
        if hasattr(scorer, "prepare"):
            everything = list(dict(zip(keys, requests, strict=True)).values())
            for start in range(0, len(everything), size):
                scorer.prepare(everything[start : start + size])
        order = list(todo)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            new = self._answer_chunk(scorer, {key: todo[key] for key in part})
            if stored:
                stored.add_answers(new)
            known.update(new)
            advance(len(part))
        return [self._usable(known[key]) for key in keys]

    def _answer_chunk(self, scorer: Scorer, chunk: Mapping[str, Request]) -> dict[str, Any]:
        """The answers as they are stored, by key."""
        began = perf_counter()
        answers = dict(zip(chunk, map(_plain, scorer.answer(list(chunk.values()))), strict=True))
        share = (perf_counter() - began) / len(chunk)
        for request in chunk.values():
            self.counts.query_seconds[request.query.id] += share
        return answers

    def _usable(self, stored: Any) -> Answer:
        """What the strategy is sent, and counted if that is not what the scorer said."""
        if not isinstance(stored, dict):
            return stored
        if "failure" in stored:
            self.counts.failures[stored["failure"]] += 1
            return None
        self.counts.repairs[stored["repaired"]] += 1
        return stored["value"]

    def _keys(self, scorer: Scorer, requests: Sequence[Request]) -> list[str]:
        """One key a request: of its content where answers are stored, else of its documents' ids."""
        fingerprint = self._fingerprints[id(scorer)]
        keys = []
        for r in requests:
            kind = [type(r).__name__, r.top] if isinstance(r, Listwise) else type(r).__name__
            shown = [c.document.text if fingerprint else c.document.id for c in r.candidates]
            keys.append(content_hash(fingerprint, kind, r.query.text, "" if fingerprint else r.query.id, shown))
        return keys


def _plain(answer: Answer | Failure | Repaired) -> Any:
    """An answer as JSON: failures and repairs become objects. NaN and infinity have no place in an order: failures."""
    if isinstance(answer, Failure):
        return {"failure": answer.kind}
    if isinstance(answer, Repaired):
        return {"repaired": answer.kind, "value": answer.value}
    if hasattr(answer, "tolist"):  # numpy's and torch's numbers and arrays
        answer = answer.tolist()
    if answer is None or (isinstance(answer, float) and not math.isfinite(answer)):
        return {"failure": "no answer" if answer is None else "not a finite number"}
    if isinstance(answer, list) and any(isinstance(one, float) and not math.isfinite(one) for one in answer):
        known = [None if isinstance(one, float) and not math.isfinite(one) else one for one in answer]
        return {"repaired": "not a finite number", "value": known}
    return answer


def with_tail(ranking: Ranking, first_stage: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The reranked candidates, then the ones below `depth` in first-stage order, scored below the last, one apart."""
    head = [(c.document.id, s) for c, s in zip(ranking.candidates, ranking.scores, strict=True)]
    tail = first_stage[len(head) :]
    if {document for document, _ in head} != {document for document, _ in first_stage[: len(head)]}:
        raise RuntimeError("the strategy did not return a permutation of its candidates")
    if head and tail and all(score == first[1] for (_, score), first in zip(head, first_stage, strict=False)):
        return [*head, *tail]  # the scores are the first stage's own: nothing to shift
    floor = head[-1][1] if head else 0.0
    return [*head, *((document, floor - 1 - i) for i, (document, _) in enumerate(tail))] if head else list(tail)
