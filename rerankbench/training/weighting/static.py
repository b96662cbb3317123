"""What weightings without a network of their own have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch


@dataclass(frozen=True, kw_only=True)
class Unlearned:
    """A weighting that trains nothing and leaves the labels alone."""

    _last: dict[str, float] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def module(self) -> None:
        """There is none."""
        return

    def labels(self, batch: Batch, scores: torch.Tensor) -> torch.Tensor:
        """The batch's own, [B, N]."""
        return batch.labels

    def own_loss(self, batch: Batch, scores: torch.Tensor) -> None:
        """There is none."""
        return

    def report(self) -> dict[str, float]:
        """What `weights` noted of the last batch."""
        return dict(self._last)
