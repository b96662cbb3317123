"""A reranker: how deep, which strategy asks, which scorer answers, and what it may cost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Scorer, Strategy
from rerankbench.rerankers.wrappers.passages import Passages, PassageScorer
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, kw_only=True)
class Reranker:
    """Reranks the top `depth` candidates of each query (null: all) and keeps the tail below them in its order.

    passages: score a long document passage by passage. max_requests, max_tokens: what one query may cost; a strategy
    that would pass it stops with its best order so far.
    """

    strategy: Strategy
    scorer: Scorer | None = None
    depth: int | None = None
    passages: Passages | None = None
    max_requests: int | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise ConfigError("depth", f"must not be negative, got {self.depth}")
        for key, value in (("max_requests", self.max_requests), ("max_tokens", self.max_tokens)):
            if value is not None and value < 1:
                raise ConfigError(f"{key}", f"must be at least 1, or null for no limit; got {value}")

    @functools.cached_property
    def asked(self) -> Scorer | None:
        """The scorer that the engine asks: `scorer`, passage by passage where that is wanted."""
        if self.passages is None or self.scorer is None:
            return self.scorer
        return PassageScorer(self.scorer, self.passages)


class Composed(Protocol):
    """A reranker made of rerankers."""

    @property
    def depth(self) -> int | None:
        """How many candidates of each query go in; None for all."""
        ...

    def rerank(
        self,
        rerank: Callable[[AnyReranker, Sequence[Query], Run, Mapping[str, Document]], Run],
        queries: Sequence[Query],
        first_stage: Run,
        documents: Mapping[str, Document],
    ) -> Run:
        """The reranked run; `rerank` is the engine's, for the rerankers inside."""
        ...


AnyReranker = Reranker | Composed
