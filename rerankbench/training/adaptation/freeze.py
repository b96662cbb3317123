"""Train a part of the network and freeze the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of, nearest
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.parts import block_of, train_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Freeze(Adaptation):
    """Trains the last blocks and all that follows them, or what is named; the scoring head always.

    layers: how many of the last blocks are trained; null is all. embeddings: whether embeddings are trained.
    train: patterns of parameter names (`*` stands for anything); given, they alone choose.
    """

    layers: Annotated[int, Ge(0)] | None = 2
    embeddings: bool = False
    train: Sequence[str] = ()

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedAdaptation:
        """Choose what requires a gradient. Raises ConfigError for a pattern that fits no parameter."""
        names = [name for name, _ in network.named_parameters()]
        for pattern in self.train:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError(key_of(self, "train"), f"no parameter fits {pattern!r}; {nearest(pattern, names)}")
        blocks = 1 + max((block for name in names if (block := block_of(name)) is not None), default=-1)
        if self.layers is not None and not self.train and self.layers > blocks:
            raise ConfigError(key_of(self, "layers"), f"the network has {blocks} blocks, not {self.layers}")
        first = 0 if self.layers is None else blocks - self.layers
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self._trains(name, first))
        train_head(network)
        return AppliedAdaptation(network)

    def _trains(self, name: str, first: int) -> bool:
        if self.train:
            return any(fnmatchcase(name, pattern) for pattern in self.train)
        block = block_of(name)
        return block >= first if block is not None else "embed" not in name or self.embeddings
