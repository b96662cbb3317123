"""What a strategy may ask of a scorer, and what a scorer keeps count of.

A request holds candidates, not prompts: text, truncation and identifiers belong to the scorer.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from rerankbench.types import Candidate, Query, Ranking


@dataclass(frozen=True, slots=True)
class Pointwise:
    """How relevant is this document to the query? Answer: a float, higher is more relevant; None if it failed."""

    query: Query
    candidate: Candidate

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The documents shown, in order."""
        return (self.candidate,)


Request = Pointwise
"""Any question. The other paradigms join here as they are added."""

Answer = Any
"""What the request's paradigm says; None when the scorer gave nothing usable."""


@dataclass
class Usage:
    """What answering cost so far. Tokens are those the network read, special tokens included, padding apart."""

    forward_passes: int = 0
    prompt_tokens: int = 0
    padded_tokens: int = 0
    generated_tokens: int = 0
    truncated_inputs: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


class Strategy(Protocol):
    """Who asks: a generator of rounds of requests that returns a ranking. Never sees a model."""

    asks: ClassVar[type[Any] | None]

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Generator[list[Request], list[Answer], Ranking]:
        """Yield the requests of a round, be sent their answers in order, return all candidates ranked."""
        ...


class Scorer(Protocol):
    """Who answers: a batch of requests from any mixture of queries, in the order given."""

    answers: ClassVar[type[Any]]
    usage: Usage

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """One answer for each request, in the same order."""
        ...

    def fingerprint(self) -> str | None:
        """A hash of all that an answer depends on besides the request; None: answers are not worth storing."""
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
