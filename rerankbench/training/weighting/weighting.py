"""What a weighting is: weights of a step's loss values, multiplied before the mean, and perhaps other labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankbench.training.scored import Scored, Values

if TYPE_CHECKING:
    import torch


class Weighting:
    """A configured weighting: a frozen dataclass. `None` in a stage stands for no weighting."""

    def begin(self) -> AppliedWeighting:
        """A new one for a training."""
        raise NotImplementedError


class AppliedWeighting:
    """A weighting in a training. By default it learns nothing and leaves the labels alone.

    module: its own network, trained and saved with the scorer's. learning_rate: of the module; None for the stage's.
    What it is given is detached, and `scored` has the groups' own labels.
    """

    module: torch.nn.Module | None = None
    learning_rate: float | None = None

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        """What is logged of the last step."""

    def labels(self, scored: Scored) -> torch.Tensor:
        """The labels for the loss, [B, N]."""
        return scored.labels

    def weights(self, scored: Scored, values: Values) -> torch.Tensor:
        """Weights ≥ 0 in the shape of the values, without gradient, 0 where not valid."""
        raise NotImplementedError

    def own_loss(self, scored: Scored) -> torch.Tensor | None:
        """A scalar to add to the step's loss, which trains the module; None where there is nothing to train."""
        return None

    def report(self) -> dict[str, float]:
        """What to log of the last step beyond the weights' statistics, under short names."""
        return dict(self.last)
