"""A strategy run on one query without an engine, with a function for a scorer; what it asked is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rerankbench.rerankers.requests import Listwise, Pairwise, Pointwise, Request, Setwise, Strategy
from rerankbench.types import Candidate, Document, Query

Answerer = Callable[[Request], Any]

QUERY = Query("q", "a query")


@dataclass
class Log:
    """What came out, and what was asked for it, round by round."""

    order: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    rounds: list[list[Request]] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        return [request for one in self.rounds for request in one]

    @property
    def distinct(self) -> int:
        return len({(r.query.text, tuple(c.document.id for c in r.candidates)) for r in self.requests})


def world(n: int, text: Callable[[int], str] = "text {}".format) -> list[Candidate]:
    """n candidates with falling first-stage scores; the document id is the rank."""
    return [Candidate(Document(str(i), text(i)), i, float(n - i)) for i in range(n)]


def drive(
    strategy: Strategy,
    candidates: Sequence[Candidate],
    answer: Answerer,
    query: Query = QUERY,
    budget: int | None = None,
) -> Log:
    """Run a strategy and check what must hold for any answers; at most `budget` rounds are asked."""
    log = Log()
    generator = strategy.rank(query, candidates)
    try:
        asked = next(generator)
        while budget is None or len(log.rounds) < budget:
            assert asked, "an empty round"
            assert all(isinstance(request, strategy.asks or ()) and request.query.id == query.id for request in asked)
            log.rounds.append(asked)
            asked = generator.send([answer(request) for request in asked])
        generator.send(None)
        raise AssertionError("goes on asking although its budget is spent")
    except StopIteration as done:
        ranking = done.value
    log.order = [int(candidate.document.id) for candidate in ranking.candidates]
    log.scores = list(ranking.scores)
    assert sorted(log.order) == list(range(len(candidates)))
    assert {id(c) for c in ranking.candidates} == {id(c) for c in candidates}, "not the candidates it was given"
    assert len(log.scores) == len(log.order)
    assert all(a >= b for a, b in pairwise(log.scores))
    return log


def number(candidate: Candidate) -> int:
    """The candidate's place in the first stage, by which relevance is looked up."""
    return int(candidate.document.id)


def oracle(relevance: Callable[[int], float]) -> Answerer:
    """A perfect scorer: the relevance of candidate i is relevance(i); ties in the order shown."""

    def answer(request: Request) -> Any:
        grades = [relevance(number(candidate)) for candidate in request.candidates]
        if isinstance(request, Pointwise):
            return grades[0]
        if isinstance(request, Pairwise):
            return 0.5 if grades[0] == grades[1] else float(grades[0] > grades[1])
        best_first = sorted(range(len(grades)), key=lambda i: -grades[i])
        if isinstance(request, Setwise):
            return best_first[0]
        if isinstance(request, Listwise):
            top = best_first[: request.top]
            return [*top, *(i for i in range(len(grades)) if i not in top)]
        return grades

    return answer


def garbled(request: Request) -> None:
    """Nothing that can be used."""


def always_first(request: Request) -> Any:
    """Looks at places only: the first document is the best, a list is right as it is, all scores are equal."""
    if isinstance(request, Pointwise | Pairwise):
        return 1.0
    if isinstance(request, Setwise):
        return 0
    if isinstance(request, Listwise):
        return list(range(len(request.candidates)))
    return [1.0] * len(request.candidates)


def always_last(request: Request) -> Any:
    """Looks at places only: the last document is the best."""
    if isinstance(request, Pairwise):
        return 0.0
    if isinstance(request, Setwise):
        return len(request.candidates) - 1
    if isinstance(request, Listwise):
        order = list(reversed(range(len(request.candidates))))[: request.top]
        return [*order, *(i for i in range(len(request.candidates)) if i not in order)]
    return always_first(request)


def best(relevance: Callable[[int], float], n: int) -> list[int]:
    """The right order of n candidates."""
    return sorted(range(n), key=lambda i: (-relevance(i), i))


def in_order(i: int) -> float:
    """The first stage had it right."""
    return float(-i)


def mixed(i: int) -> float:
    """The first stage was no help."""
    return float((37 * i + 11) % 139)


def upside_down(i: int) -> float:
    """The first stage had it the wrong way round."""
    return float(i)
