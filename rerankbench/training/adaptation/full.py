"""Full training: every parameter is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Full(Adaptation):
    """Trains every parameter."""

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedAdaptation:
        """Leave the network as it is."""
        return AppliedAdaptation(network)
