"""Several rerankers of one list, their rankings fused into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

from rerankbench.errors import ConfigError
from rerankbench.rerankers.composed import Rerank, above, require_depth, top
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Fuse by Borda counts, reciprocal ranks (Cormack et al., SIGIR 2009) or the mean of min-max normalised scores.

    method: `borda`, Σ n − rank with ranks from 0; `rrf`, Σ 1 / (rrf_k + rank) with ranks from 1; `mean` of scores
    brought to 0…1 within each query, ½ where all are equal. Ties keep the first-stage order. depth: of the best so many
    candidates only (null: all).
    """

    rerankers: Mapping[str, AnyReranker]
    method: Literal["borda", "rrf", "mean"] = "rrf"
    rrf_k: int = 60
    depth: int | None = None

    def __post_init__(self) -> None:
        require_depth(self.depth)
        if not self.rerankers:
            raise ConfigError("rerankers", "needs at least one reranker")
        if self.rrf_k < 0:
            raise ConfigError("rrf_k", f"must not be negative, got {self.rrf_k}")

    def rerank(
        self, rerank: Rerank, queries: Sequence[Query], first_stage: Run, documents: Mapping[str, Document]
    ) -> Run:
        """The run reranked; scores are the fused ones, continued downwards."""
        head = top(first_stage, queries, self.depth)
        runs = [rerank(reranker, queries, head, documents) for reranker in self.rerankers.values()]
        return above({q: self._fused([run[q] for run in runs], ranked) for q, ranked in head.items()}, first_stage)

    def _fused(
        self, rankings: Sequence[Sequence[tuple[str, float]]], first_stage: Sequence[tuple[str, float]]
    ) -> list[tuple[str, float]]:
        credits: dict[str, list[float]] = defaultdict(list)
        for ranking in rankings:
            for (document, _), credit in zip(ranking, self._credits([score for _, score in ranking]), strict=True):
                credits[document].append(credit)
        # fsum does not depend on the order of the rerankers, so that equal sums are ties.
        fused = [(document, fsum(credits[document])) for document, _ in first_stage]
        if self.method == "mean":
            fused = [(document, total / len(rankings)) for document, total in fused]
        return sorted(fused, key=lambda item: -item[1])

    def _credits(self, scores: Sequence[float]) -> list[float]:
        """What the places of one ranking are worth, from its scores, best first."""
        n = len(scores)
        if self.method == "borda":
            return [float(n - rank) for rank in range(n)]
        if self.method == "rrf":
            return [1 / (self.rrf_k + rank) for rank in range(1, n + 1)]
        low, high = min(scores, default=0.0), max(scores, default=0.0)
        return [(score - low) / (high - low) if high > low else 0.5 for score in scores]
