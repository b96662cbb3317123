"""The engine drives a strategy over all queries side by side, and passes its requests to the scorer.

In each round it collects what the strategies of all queries ask, looks each request up in the store, passes the others
to the scorer in chunks, stores the answers, and sends them back. So batching across queries, resuming after a crash,
budgets and counting exist once, for every strategy with every scorer. An answer is safe in the store as soon as its
chunk is done, and chunks of fixed size in a fixed order keep the batches, hence the last bits of the scores, the same
in an interrupted run and an undisturbed one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

from rerankbench.errors import ConfigError, key_of
from rerankbench.progress import Advance, bar
from rerankbench.rerankers.requests import Answer, Failure, Repaired, Request, Rounds, request_keys
from rerankbench.rerankers.reranker import AnyReranker, Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.transcript import Transcript
from rerankbench.retrievers.fuse import append_tail
from rerankbench.store import Store
from rerankbench.types import Candidate, Document, Query, Ranking, Run

T = TypeVar("T")


@dataclass
class Counts:
    """What reranking took. `query_seconds` shares each chunk's time among the queries that asked in it."""

    requests: int = 0
    """What the strategies asked, before the store."""
    rounds: int = 0
    """The sequential depth: rounds that cannot be asked side by side."""
    cache_hits: int = 0
    """Requests that no scorer had to answer: in the store, or asked twice in one round."""
    failures: Counter[str] = field(default_factory=Counter)
    """Answers that could not be used, by kind."""
    repairs: Counter[str] = field(default_factory=Counter)
    """Answers that could be used after a repair, by kind."""
    budget_stops: int = 0
    """Queries whose budget was spent before their strategy was done."""
    constant_scores: int = 0
    """Queries with several candidates that all got one score: the sign of a scorer that cannot tell documents apart."""
    query_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Active:
    """A strategy at work on one query, with the requests of its next round and what it has used of its budget."""

    query: Query
    generator: Rounds
    asked: list[Request]
    requests: int = 0
    tokens: int = 0


class Engine:
    """Reranks runs; `counts`, and the usage of the `scorers` used so far, add up over all of them."""

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
        if not isinstance(reranker, Reranker):  # made of other rerankers, for each of which it calls this method
            return reranker.rerank(self.rerank, queries, first_stage, documents)
        scorer = reranker.wrapped_scorer
        self._register(scorer)
        rankings: dict[str, Ranking] = {}
        active: list[_Active] = []
        for query in queries:
            top = first_stage[query.id][: reranker.depth]
            candidates = tuple(Candidate(documents[d], rank, score) for rank, (d, score) in enumerate(top))
            self.counts.query_seconds.setdefault(query.id, 0.0)
            active.append(_Active(query, reranker.strategy.rank(query, candidates), []))
        active = [one for one in active if self._advance(one, None, rankings)]
        with bar("rerank", 0) as advance:
            while active:
                active = self._stop_at_budget(reranker, scorer, active, rankings)
                self.counts.rounds += bool(active)
                answers = iter(self._answer(scorer, [request for one in active for request in one.asked], advance))
                active = [one for one in active if self._advance(one, [next(answers) for _ in one.asked], rankings)]
        for ranking in rankings.values():
            scores = ranking.scores
            self.counts.constant_scores += scorer is not None and len(scores) > 1 and scores[0] == scores[-1]
        return {query.id: _with_tail(rankings[query.id], first_stage[query.id]) for query in queries}

    def _register(self, scorer: Scorer | None) -> None:
        if scorer is not None and id(scorer) not in self._fingerprints:  # two may be equal: scorers are dataclasses
            self.scorers.append(scorer)
            self._fingerprints[id(scorer)] = scorer.fingerprint() or ""
            if self.transcript is not None:
                scorer.record = self.transcript.add

    def _advance(self, one: _Active, answers: list[Answer] | None, rankings: dict[str, Ranking]) -> bool:
        """Send a strategy its answers, None at its start; whether it asks again."""
        try:
            one.asked = next(one.generator) if answers is None else one.generator.send(answers)
        except StopIteration as done:
            rankings[one.query.id] = done.value
            return False
        return True

    def _stop_at_budget(
        self, reranker: Reranker, scorer: Scorer | None, active: list[_Active], rankings: dict[str, Ranking]
    ) -> list[_Active]:
        """The queries whose next round is within the budget; the others end with their best order so far."""
        if reranker.max_requests is None and reranker.max_tokens is None:
            return active
        within = []
        for one in active:
            requests = one.requests + len(one.asked)
            tokens = one.tokens
            if reranker.max_tokens is not None and scorer is not None:
                tokens += sum(_tokens(reranker, scorer, request) for request in one.asked)
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
                raise RuntimeError("the strategy asks again although its budget is spent")
        return within

    def _answer(self, scorer: Scorer | None, requests: Sequence[Request], advance: Advance) -> list[Answer]:
        if scorer is None or not requests:
            return []
        fingerprint = self._fingerprints[id(scorer)]
        stored = self.store if fingerprint else None
        # What is not stored depends on more than it should, perhaps on ids.
        reads = scorer.reads if fingerprint else scorer.reads | {"ids"}
        keys = request_keys(requests, reads, fingerprint)
        distinct = dict(zip(keys, requests, strict=True))
        known = stored.answers(keys) if stored else {}
        todo = [key for key in distinct if key not in known]
        self.counts.requests += len(requests)
        self.counts.cache_hits += len(requests) - len(todo)
        if self.transcript is not None:
            for key, request in distinct.items():
                if key in known:
                    self.transcript.add(request, None, known[key])
        advance(0, len(todo))
        for everything in _chunks(list(distinct.values()), scorer.chunk):
            scorer.prepare(everything)
        for chunk in _chunks(todo, scorer.chunk):
            new = self._answer_chunk(scorer, {key: distinct[key] for key in chunk})
            if stored:
                stored.add_answers(new)
            known.update(new)
            advance(len(chunk))
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
        """What the strategy is sent; failures and repairs are counted."""
        if not isinstance(stored, dict):
            return stored
        if "failure" in stored:
            self.counts.failures[stored["failure"]] += 1
            return None
        self.counts.repairs[stored["repaired"]] += 1
        return stored["value"]


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _tokens(reranker: Reranker, scorer: Scorer, request: Request) -> int:
    tokens = scorer.tokens(request)
    if tokens is None:
        raise ConfigError(
            key_of(reranker, "max_tokens"), "this scorer cannot tell its tokens beforehand; use max_requests"
        )
    return tokens


def _plain(answer: Answer | Failure | Repaired) -> Any:
    """An answer as JSON: failures and repairs become objects. NaN and infinity cannot be ordered: failures."""
    if isinstance(answer, Failure):
        return {"failure": answer.kind}
    if isinstance(answer, Repaired):
        return {"repaired": answer.kind, "value": answer.value}
    if hasattr(answer, "tolist"):  # numpy's and torch's numbers and arrays
        answer = answer.tolist()
    if answer is None or (isinstance(answer, float) and not math.isfinite(answer)):
        return {"failure": "no answer" if answer is None else "not a finite number"}
    if isinstance(answer, list) and any(isinstance(one, float) and not math.isfinite(one) for one in answer):
        values = [None if isinstance(one, float) and not math.isfinite(one) else one for one in answer]
        return {"repaired": "not a finite number", "value": values}
    return answer


def _with_tail(ranking: Ranking, first_stage: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The reranked candidates, then the ones below `depth` in first-stage order, scored below the last, one apart."""
    head = [(c.document.id, s) for c, s in zip(ranking.candidates, ranking.scores, strict=True)]
    same, tail = first_stage[: len(head)], first_stage[len(head) :]
    if {document for document, _ in head} != {document for document, _ in same}:
        raise RuntimeError("the strategy did not return a permutation of its candidates")
    if [score for _, score in head] == [score for _, score in same]:
        return [*head, *tail]  # the scores are those of the first stage: nothing to shift
    return append_tail(head, tail)
