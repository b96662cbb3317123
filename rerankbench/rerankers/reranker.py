"""A reranker: how deep, which strategy asks, which scorer answers."""

from __future__ import annotations

from dataclasses import dataclass

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Scorer, Strategy


@dataclass(frozen=True, kw_only=True)
class Reranker:
    """Reranks the top `depth` candidates of each query (null: all) and keeps the tail below them in its order."""

    strategy: Strategy
    scorer: Scorer | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise ConfigError("reranker.depth", f"must not be negative, got {self.depth}")
