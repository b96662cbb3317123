"""A recipe: which queries to train on, and the stages, one after another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.training.stages.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a reranker is trained.

    stages: by name, in order. split, dev_split: of the benchmark; without a dev split `dev_queries` of the training
    queries are held out. queries: how many training queries, sampled; null takes all. dev_queries: how many dev
    queries; 0 for none. depth: candidates of a dev query that are ranked. sources: more training sets, each a node with
    `benchmark` and `weight`: how often its groups come in an epoch, and `dev`: how many of its queries are held out and
    measured after each stage; `weight` is that of the benchmark's own. The others (groups, loss, weighting, adaptation,
    loop) are the parts of each stage that does not name its own.
    """

    stages: Mapping[str, Stage]
    split: str = "train"
    dev_split: str | None = "dev"
    queries: Annotated[int, Ge(1)] | None = None
    dev_queries: Annotated[int, Ge(0)] = 100
    depth: Annotated[int, Ge(1)] = 50
    weight: Annotated[float, Ge(0)] = 1.0
    sources: Sequence[Mapping[str, Any]] = ()
    groups: Any = None
    loss: Any = None
    weighting: Any = None
    adaptation: Any = None
    loop: Any = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages", "names no stage; nothing would be trained")
        for number, (name, stage) in enumerate(self.stages.items()):
            if not re.fullmatch(r"\w[\w-]*", str(name)):
                raise ConfigError("stages", f"{name!r} names a folder: letters, digits, - and _ only")
            later = [*self.stages][number:]
            for base in getattr(stage.adaptation, "base_adapters", ()):
                if base in later:
                    raise ConfigError(f"stages.{name}.adaptation.base_adapters", f"{base!r} is no earlier stage")
            if stage.changes_network and stage.adaptation and not stage.adaptation.merges and len(later) > 1:
                problem = f"leaves adapters in the network, which {later[1]} cannot train; make it the last stage"
                raise ConfigError(f"stages.{name}.adaptation", problem)
