"""The relevant candidate against the others of its list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import logsumexp
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LocalizedContrastive(Loss):
    """-log of the softmax share of a relevant candidate among the irrelevant ones; InfoNCE over a list.

    Relevant is a label > 0. Several relevant ones are never each other's negatives: `first` takes the first of the list
    (lists are shuffled), `each` sums over them, `mass` takes the share of all together. temperature: divides the
    scores. LCE, Gao et al., arXiv 2101.08751; InfoNCE, van den Oord et al., arXiv 1807.03748.
    """

    unit: ClassVar[Unit] = "list"
    positives: Literal["first", "each", "mass"] = "first"
    temperature: Annotated[float, Gt(0)] = 1.0

    def values(self, scored: Scored) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        scores, valid = scored.scores / self.temperature, self.valid(scored.labels, scored.mask)
        relevant, others = scored.mask & (scored.labels > 0), scored.mask & (scored.labels <= 0)
        # Lists with no negative, or none relevant, have no finite sum; 0 stands in, as they do not count.
        negatives = logsumexp(scores, others).masked_fill(~valid, 0)
        if self.positives == "mass":
            return -logsigmoid(logsumexp(scores, relevant).masked_fill(~valid, 0) - negatives)
        if self.positives == "first":
            relevant = relevant & (relevant.cumsum(1) == 1)
        return -logsigmoid(scores - negatives[:, None]).masked_fill(~(relevant & valid[:, None]), 0).sum(1)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Lists with a relevant and an irrelevant candidate."""
        return (mask & (labels > 0)).any(1) & (mask & (labels <= 0)).any(1)
