"""Score every candidate by itself; one round, n requests (Nogueira & Cho, arXiv 1901.04085, and before)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.rerankers.requests import Pointwise, Request, Rounds, by_score
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class ScoreAll:
    """Order by score; a candidate whose score is missing goes behind the scored ones, in first-stage order."""

    asks: ClassVar[type[Pointwise]] = Pointwise

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask once for every candidate."""
        asked: list[Request] = [Pointwise(query, candidate) for candidate in candidates]
        answers = (yield asked) if asked else None
        return by_score(candidates, {c.document.id: a for c, a in zip(candidates, answers or [], strict=bool(answers))})
