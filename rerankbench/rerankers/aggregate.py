"""Several rerankers of one list, their rankings fused into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from rerankbench.rerankers.composed import Rerank, append_tail, top
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.retrievers.fuse import borda, minmax, reciprocal_ranks
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Fuse by Borda counts, reciprocal ranks (Cormack et al., SIGIR 2009) or the mean of min-max normalised scores.

    method: `borda`, Σ n − rank with ranks from 0; `rrf`, Σ 1 / (rrf_k + rank) with ranks from 1; `mean` of scores
    brought to 0…1 within each query, ½ where all are equal. Ties keep the first-stage order. depth: how many candidates
    go in, the best ones (null: all).
    """

    rerankers: Annotated[Mapping[str, AnyReranker], MinLen(1)]
    method: Literal["borda", "rrf", "mean"] = "rrf"
    rrf_k: Annotated[int, Ge(0)] = 60
    depth: Annotated[int, Ge(0)] | None = None

    def rerank(
        self, rerank: Rerank, queries: Sequence[Query], first_stage: Run, documents: Mapping[str, Document]
    ) -> Run:
        """The run reranked; scores are the fused ones, continued downwards."""
        head = top(first_stage, queries, self.depth)
        runs = [rerank(reranker, queries, head, documents) for reranker in self.rerankers.values()]
        return append_tail(
            {q: self._fused([run[q] for run in runs], ranked) for q, ranked in head.items()}, first_stage
        )

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
        """What each rank of one ranking is worth, from its scores, best first."""
        if self.method == "mean":
            return minmax(scores)
        return borda(len(scores)) if self.method == "borda" else reciprocal_ranks(len(scores), self.rrf_k)
