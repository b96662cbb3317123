"""Fine-tuning on single answers and contrastive learning as weight and direction of the gradient, chosen apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import log_softmax
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Unified(Loss):
    """A surrogate whose gradient is weight · direction, each from another loss.

    Its value, (weight·direction without gradient) · score, has no meaning. Relevant is a label ≥ threshold. Both parts
    `sft`: the gradient of binary cross-entropy; both `contrastive`: that of softmax cross-entropy, InfoNCE's with one
    relevant candidate, here divided by the list's length like the former, so that both want the same learning rate. The
    directions differ only where several are relevant: one that holds more than its share is pushed down by
    `contrastive`. (In the paper they are directions of the head, yes - no or yes alone: that is the scorer's choice of
    score.) After arXiv 2510.14824.
    """

    unit: ClassVar[Unit] = "item"
    weight: Literal["sft", "contrastive", "uniform"] = "sft"
    direction: Literal["sft", "contrastive"] = "sft"
    threshold: float = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        relevant = (scored.labels >= self.threshold).to(scored.scores.dtype)
        _, gradient = gradient_parts(scored.scores, relevant, scored.mask, self.direction)
        if self.weight != "uniform":
            gradient = gradient * gradient_parts(scored.scores, relevant, scored.mask, self.weight)[0]
        return gradient * scored.scores

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The candidates of lists with a relevant and an irrelevant one: others have no contrastive gradient."""
        relevant = mask & (labels >= self.threshold)
        return mask & relevant.any(1, keepdim=True) & (mask & ~relevant).any(1, keepdim=True)


def gradient_parts(
    scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, kind: Literal["sft", "contrastive"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight ≥ 0 and direction ±1 of a loss's gradient by the scores, weight · direction; both 0 in padded cells.

    scores (0 in padded cells), labels, mask: [B, N]; labels > 0 are relevant. sft: |σ(s) - y|, from binary
    cross-entropy. contrastive: |p - q|, from the cross-entropy of the list's softmax p with the uniform distribution q
    over the relevant.
    """
    scores = scores.detach()
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
