"""Losses of each candidate by itself: its score against its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.losses.loss import Loss
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of relevant or not, the score being the logit.

    threshold: labels from here on are 1, lower ones 0; None: the target is label / highest, in [0, 1].
    On s = logit(yes) - logit(no) it is the two-way cross-entropy of the answer. Raises ConfigError (key `highest`) at
    a label above `highest`, whose target no score would reach.
    """

    unit: ClassVar[Unit] = "item"
    threshold: float | None = 1.0
    highest: Annotated[float, Gt(0)] = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        if self.threshold is not None:
            targets = (scored.labels >= self.threshold).to(scored.scores.dtype)
        else:
            targets = scored.labels.to(scored.scores.dtype) / self.highest
            if bool((targets > 1).any()):
                problem = f"is {self.highest}, but there is a label {scored.labels.max():g}"
                raise ConfigError(key_of(self, "highest"), problem)
        return binary_cross_entropy_with_logits(scored.scores, targets, reduction="none")


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError(Loss):
    """Squared difference of score and label."""

    unit: ClassVar[Unit] = "item"
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        return (scored.scores - scored.labels) ** 2
