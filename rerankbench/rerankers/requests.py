"""The requests that a strategy may ask of a scorer, and the key under which the store holds their answers.

A request holds candidates, not prompts: truncation and identifiers belong to the scorer. Answers are plain JSON values,
so that they can be stored.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rerankbench.retrievers.fuse import append_tail
from rerankbench.store import content_hash
from rerankbench.types import Candidate, Content, Picture, Query, Ranking, content_key


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

    Where `top` is given only the first `top` ranks matter, and what follows them is in the order shown.
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
"""Any of the five kinds."""

Answer = Any
"""What the request's paradigm says; None when the scorer gave nothing usable."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a scorer returns instead of an answer that cannot be used; a strategy gets None. `kind`: why, in words."""

    kind: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a scorer returns for an answer that it repaired, as by dropping a duplicate; a strategy gets `value`."""

    value: Answer
    kind: str


Rounds = Generator[list[Request], list[Answer] | None, Ranking]
"""A strategy at work: it yields the requests of a round, is sent their answers, and finally returns its ranking."""


class Strategy(Protocol):
    """Decides what is asked, and ranks by the answers. Never sees a model."""

    asks: ClassVar[Any]
    """The kind of request that it asks, one of the five; None for a strategy that asks nothing."""

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Yield the requests of a round, receive their answers in order, return all candidates ranked.

        A failed answer is None. None instead of the list means that the budget is spent and the round was not asked:
        return the best order so far.
        """
        ...


def request_keys(requests: Sequence[Request], reads: Collection[str], *more: Any) -> list[str]:
    """For each request a hash of `more` and of what a scorer that `reads` this sees of it: see `Scorer.reads`."""
    kinds = tuple(kind for name, kind in (("text", str), ("pictures", Picture)) if name in reads)
    fields = sorted(name.partition(".")[2] for name in reads if name.startswith("metadata."))
    seen: dict[int, list[Any]] = {}  # by identity: a round shows many documents more than once

    def see(content: Content) -> list[Any]:
        if id(content) not in seen:
            values = [content.id] if "ids" in reads else []
            if kinds:
                parts = [part for part in content.parts if isinstance(part, kinds)]
                values.append(content.key if len(parts) == len(content.parts) else content_key(parts))
            seen[id(content)] = [*values, *(content.metadata.get(field) for field in fields)]
        return seen[id(content)]

    keys = []
    for request in requests:
        candidates = request.candidates
        asked = [type(request).__name__, request.top] if isinstance(request, Listwise) else type(request).__name__
        instruction = request.query.instruction if "instruction" in reads else ""
        first_stage = [(c.rank, c.score) for c in candidates] if "first_stage" in reads else []
        shown = [value for c in candidates for value in see(c.document)]
        keys.append(content_hash(more, asked, see(request.query), instruction, shown, first_stage))
    return keys


def by_score(candidates: Sequence[Candidate], scores: Mapping[str, float | None]) -> Ranking:
    """Candidates by score (document id → score), ties in first-stage order, unscored ones last in first-stage order.

    Unscored candidates get scores below the lowest scored one, one apart.
    """
    scored = [(c, s) for c in candidates if (s := scores.get(c.document.id)) is not None]
    scored.sort(key=lambda pair: (-pair[1], pair[0].rank))
    unscored = sorted((c for c in candidates if scores.get(c.document.id) is None), key=lambda c: c.rank)
    ordered = append_tail(scored, [(c, float(len(unscored) - i)) for i, c in enumerate(unscored)])
    return Ranking(tuple(c for c, _ in ordered), tuple(s for _, s in ordered))


def by_order(candidates: Sequence[Candidate]) -> Ranking:
    """Candidates in the order given, scored n, n-1, … 1: for strategies that give an order and no scores."""
    return Ranking(tuple(candidates), tuple(float(len(candidates) - i) for i in range(len(candidates))))
