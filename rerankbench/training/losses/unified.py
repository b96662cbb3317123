"""Fine-tuning on single answers and contrastive learning, taken apart: how hard each score is pulled, and which way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.training.losses.loss import Unit
from rerankbench.training.losses.masking import log_softmax, prepared

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Unified:
    """A surrogate whose gradient is weight · direction, each from another loss. scores, labels, mask: [B, N] -> [B, N].

    Its value, (weight·direction without gradient) · score, says nothing. Relevant is a label ≥ threshold. Both halves
    `sft`: the gradient of binary cross-entropy; both `contrastive`: that of softmax cross-entropy, InfoNCE's with one
    relevant candidate, here divided by the list's length like the former, lest learning rates be compared. The
    directions differ only where several are relevant: one that holds more than its share is pushed down by
    `contrastive`. (In the paper they are directions of the head, yes - no or yes alone: that is the scorer's choice of
    score.) After arXiv 2510.14824.
    """

    unit: ClassVar[Unit] = "item"
    weight: Literal["sft", "contrastive", "uniform"] = "sft"
    direction: Literal["sft", "contrastive"] = "sft"
    threshold: float = 1.0
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
        valid = self.valid(labels, mask)
        relevant = (labels >= self.threshold).to(scores.dtype)
        _, pull = gradient_parts(scores, relevant, mask, self.direction)
        if self.weight != "uniform":
            pull = pull * gradient_parts(scores, relevant, mask, self.weight)[0]
        return (pull * prepared(scores, mask)).masked_fill(~valid, 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        relevant = mask & (labels >= self.threshold)
        # A list without both kinds says nothing to the contrastive half, so it is left out whatever the halves.
        return mask & relevant.any(1, keepdim=True) & (mask & ~relevant).any(1, keepdim=True)


def gradient_parts(
    scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, kind: Literal["sft", "contrastive"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight ≥ 0 and direction ±1 of a loss's gradient by the scores, weight · direction; both 0 in padded cells.

    scores, labels, mask: [B, N]; labels > 0 are relevant. sft: |σ(s) - y|, from binary cross-entropy. contrastive:
    |p - q|, from the cross-entropy of the list's softmax p with the uniform distribution q over the relevant.
    """
    scores = prepared(scores.detach(), mask)
    relevant = mask & (labels > 0)
    if kind == "sft":
        weight = (scores * (1 - 2 * relevant.to(scores.dtype))).sigmoid()
        up = relevant
    else:
        shares = log_softmax(scores, mask).exp()
        targets = relevant.to(scores.dtype) / relevant.sum(1, keepdim=True).clamp(min=1)
        weight = (shares - targets).abs()
        up = relevant & (shares <= targets)
    return weight.masked_fill(~mask, 0), (1 - 2 * up.to(scores.dtype)).masked_fill(~mask, 0)
