"""A recipe: which queries to train on, and the stages, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankbench.errors import ConfigError
from rerankbench.training.stages.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a reranker is trained.

    stages: in order. split, dev_split: of the benchmark; without a dev split `dev_queries` of the training queries are
    held out. queries: how many training queries, sampled; null takes all. dev_queries: how many dev queries; 0 for
    none. depth: candidates of a dev query that are ranked. sources: more training sets, each a node with `benchmark`
    and `weight`: how often its groups come in an epoch, and `dev`: so many of its queries are held out and measured
    after each stage; `weight` is that of the benchmark's own. The others (groups, loss, weighting, adaptation, loop)
    are what the stages refer to, so that an override reaches them by a short name.
    """

    stages: Sequence[Stage]
    split: str = "train"
    dev_split: str | None = "dev"
    queries: int | None = None
    dev_queries: int = 100
    depth: int = 50
    weight: float = 1.0
    sources: Sequence[Mapping[str, Any]] = ()
    groups: Any = None
    loss: Any = None
    weighting: Any = None
    adaptation: Any = None
    loop: Any = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages", "names no stage; nothing would be trained")
        if self.dev_queries < 0 or self.depth < 1 or self.weight < 0:
            raise ConfigError("dev_queries", "needs dev_queries >= 0, depth >= 1 and weight >= 0")
