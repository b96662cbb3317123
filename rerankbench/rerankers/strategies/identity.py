"""Keep the first-stage order: the baseline that shows what the first stage alone does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.rerankers.requests import Rounds
from rerankbench.types import Candidate, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Asks nothing; returns the candidates with their first-stage scores."""

    asks: ClassVar[None] = None

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """The candidates as they came."""
        yield from ()
        return Ranking(tuple(candidates), tuple(candidate.score for candidate in candidates))
