"""Losses of each candidate by itself: its score against its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.losses.loss import Unit, require_positive
from rerankbench.training.losses.masking import prepared

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """Cross-entropy of relevant or not, the score being the logit. scores, labels, mask: [B, N] -> [B, N].

    threshold: labels from here on are 1, lower ones 0; None: the target is label / highest, in [0, 1].
    On s = logit(yes) - logit(no) it is the two-way cross-entropy of the answer. Raises ConfigError (key
    `loss.highest`) at a label above `highest`, whose target no score would reach.
    """

    unit: ClassVar[Unit] = "item"
    threshold: float | None = 1.0
    highest: float = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

    def __post_init__(self) -> None:
        require_positive("highest", self.highest)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        logits = prepared(scores, mask)
        if self.threshold is not None:
            targets = (labels >= self.threshold).to(logits.dtype)
        else:
            targets = prepared(labels, mask).to(logits.dtype) / self.highest
            if bool((targets > 1).any()):
                raise ConfigError("loss.highest", f"is {self.highest}, but there is a label {labels[mask].max():g}")
        return binary_cross_entropy_with_logits(logits, targets, reduction="none").masked_fill(~mask, 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return mask


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """Squared difference of score and label. scores, labels, mask: [B, N] -> [B, N]."""

    unit: ClassVar[Unit] = "item"
    reduction: Literal["per_list", "global"] = "per_list"

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        return (prepared(scores, mask) - prepared(labels, mask)) ** 2

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return mask
