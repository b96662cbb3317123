"""What a weighting is: weights of a batch's loss values, detached, multiplied before the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch
    from rerankbench.training.losses.loss import Unit


class Weighting(Protocol):
    """A configured weighting. One that learns has a `module`, which is trained and saved with the network.

    `None` in a stage stands for no weighting.
    """

    @property
    def module(self) -> torch.nn.Module | None:
        """Its own network, or None. Its parameters are a group of their own in the stage's optimiser, at the
        weighting's `learning_rate` where it has one."""
        ...

    def labels(self, batch: Batch, scores: torch.Tensor) -> torch.Tensor:
        """The labels the loss shall see, [B, N], detached; most return `batch.labels`."""
        ...

    def weights(
        self, batch: Batch, scores: torch.Tensor, values: torch.Tensor, valid: torch.Tensor, unit: Unit, progress: float
    ) -> torch.Tensor:
        """Weights ≥ 0 in the shape of `values`, detached. values, valid: what the loss returned (its unit's shape)."""
        ...

    def own_loss(self, batch: Batch, scores: torch.Tensor) -> torch.Tensor | None:
        """A scalar to add to the step's loss for the training of `module`; None for a weighting that does not learn."""
        ...

    def report(self) -> dict[str, float]:
        """What to log of the last batch beyond the weights' statistics, under short names."""
        ...
