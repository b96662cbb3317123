"""Score every candidate by itself; one round, n requests (Nogueira & Cho, arXiv 1901.04085, and before)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.rerankers.requests import Answer, Pointwise, Request, by_score
from rerankbench.types import Candidate, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class ScoreAll:
    """Order by score; a candidate whose score is missing goes behind the scored ones, in first-stage order."""

    asks: ClassVar[type[Pointwise]] = Pointwise

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Generator[list[Request], list[Answer], Ranking]:
        """Ask once for every candidate."""
        answers = (yield [Pointwise(query, candidate) for candidate in candidates]) if candidates else []
        return by_score(candidates, {c.document.id: a for c, a in zip(candidates, answers, strict=True)})
