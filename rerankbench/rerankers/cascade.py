"""A cheap reranker for the whole list, a costly one for the best of it (Matveeva et al., SIGIR 2006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerankbench.errors import ConfigError
from rerankbench.rerankers.composed import Rerank, above, require_depth, top
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Rerank with `first`, then its best `keep` with `second`, for which the order of `first` is the first stage's.

    The others follow in the order of `first`. depth: of the best so many candidates only (null: all).
    """

    first: AnyReranker
    second: AnyReranker
    keep: int = 10
    depth: int | None = None

    def __post_init__(self) -> None:
        require_depth(self.depth)
        if self.keep < 1:
            raise ConfigError("keep", f"must be at least 1, got {self.keep}")

    def rerank(
        self, rerank: Rerank, queries: Sequence[Query], first_stage: Run, documents: Mapping[str, Document]
    ) -> Run:
        """The run reranked; scores are those of `second`, continued downwards."""
        cheap = rerank(self.first, queries, top(first_stage, queries, self.depth), documents)
        costly = rerank(self.second, queries, top(cheap, queries, self.keep), documents)
        return above(above(costly, cheap), first_stage)
