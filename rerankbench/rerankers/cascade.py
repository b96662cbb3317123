"""A cheap reranker for the whole list, a costly one for the best of it (Matveeva et al., SIGIR 2006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from rerankbench.rerankers.composed import Rerank, append_tail, top
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Rerank with `first`, then its best `keep` with `second`, for which the order of `first` is the first stage's.

    The others follow in the order of `first`. depth: how many candidates go in, the best ones (null: all).
    """

    first: AnyReranker
    second: AnyReranker
    keep: Annotated[int, Ge(1)] = 10
    depth: Annotated[int, Ge(0)] | None = None

    def rerank(
        self, rerank: Rerank, queries: Sequence[Query], first_stage: Run, documents: Mapping[str, Document]
    ) -> Run:
        """The run reranked; scores are those of `second`, continued downwards."""
        cheap = rerank(self.first, queries, top(first_stage, queries, self.depth), documents)
        costly = rerank(self.second, queries, top(cheap, queries, self.keep), documents)
        return append_tail(append_tail(costly, cheap), first_stage)
