"""What a strategy may ask of a scorer, and what a scorer keeps count of.

A request holds candidates, not prompts: text, truncation and identifiers belong to the scorer. Answers are plain JSON
values, so that they can be stored.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rerankbench.types import Candidate, Query, Ranking
from rerankbench.usage import Usage


@dataclass(frozen=True, slots=True)
class Pointwise:
    """How relevant is this document to the query? Answer: a float, higher is more relevant."""

    query: Query
    candidate: Candidate

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The documents shown, in order."""
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Which of two documents is more relevant? Answer: the preference for the first, in [0, 1]."""

    query: Query
    first: Candidate
    second: Candidate

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The documents shown, in order."""
        return (self.first, self.second)


@dataclass(frozen=True, slots=True)
class Setwise:
    """Which of these documents is the most relevant? Answer: its index among `candidates`."""

    query: Query
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Listwise:
    """In what order? Answer: all indices of `candidates`, most relevant first.

    Where `top` is given only the first `top` places matter, and what follows them is in the order shown.
    """

    query: Query
    candidates: tuple[Candidate, ...]
    top: int | None = None


@dataclass(frozen=True, slots=True)
class Groupwise:
    """How relevant is each of these documents? Answer: one float for each of `candidates`, None where it is missing."""

    query: Query
    candidates: tuple[Candidate, ...]


Request = Pointwise | Pairwise | Setwise | Listwise | Groupwise
"""Any of the five questions."""

Answer = Any
"""What the request's paradigm says; None when the scorer gave nothing usable."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a scorer returns in place of an answer that cannot be used; a strategy sees None. `kind`: why, in words."""

    kind: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a scorer returns for an answer that needed mending, such as a duplicate dropped; a strategy sees `value`."""

    value: Answer
    kind: str


Rounds = Generator[list[Request], list[Answer] | None, Ranking]
"""A strategy at work: it yields the requests of a round, is sent their answers, and returns its ranking at last."""


class Strategy(Protocol):
    """Who asks: a generator of rounds of requests that returns a ranking. Never sees a model."""

    asks: ClassVar[Any]
    """The question it asks, one of the five; None for one that asks nothing."""

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Yield the requests of a round, be sent their answers in order, return all candidates ranked.

        A failed answer is None. None in place of the list says that the budget is spent and the round was not asked:
        return the best order so far.
        """
        ...


class Scorer(Protocol):
    """Who answers: a batch of requests from any mixture of queries, in the order given.

    A scorer that asks a language model may have two more things: `transcript`, a function that takes (request, prompt,
    raw answer) when answers are to be kept, else None; and `tokens(request)`, what the request will cost, for budgets.
    One that remembers what it computed may have `prepare(requests)`: it is told of all requests of a round, chunk by
    chunk, also of those that the store answers, so that it can compute things in the same company as in any other run.
    """

    answers: ClassVar[Any]
    usage: Usage

    def answer(self, requests: Sequence[Any]) -> Sequence[Answer | Failure | Repaired]:
        """One answer for each request, in the same order."""
        ...

    def fingerprint(self) -> str | None:
        """A hash of all that an answer depends on besides the texts of the request; None: do not store answers.

        The store knows a request by its kind, its query's text and its documents' texts. An answer that depends on
        more of it (ids, first-stage scores, metadata) must not be stored.
        """
        ...


def by_score(candidates: Sequence[Candidate], scores: Mapping[str, float | None]) -> Ranking:
    """Candidates by score (document id → score), ties in first-stage order, unscored ones last in first-stage order.

    Unscored candidates get scores below the lowest scored one, one apart.
    """
    scored = [(c, s) for c in candidates if (s := scores.get(c.document.id)) is not None]
    scored.sort(key=lambda pair: (-pair[1], pair[0].rank))
    rest = sorted((c for c in candidates if scores.get(c.document.id) is None), key=lambda c: c.rank)
    floor = scored[-1][1] if scored else float(len(rest) + 1)
    ordered = [*scored, *((c, floor - 1 - i) for i, c in enumerate(rest))]
    return Ranking(tuple(c for c, _ in ordered), tuple(s for _, s in ordered))


def by_order(candidates: Sequence[Candidate]) -> Ranking:
    """Candidates in the order given, scored n, n-1, … 1: for strategies that give an order and no scores."""
    return Ranking(tuple(candidates), tuple(float(len(candidates) - i) for i in range(len(candidates))))
