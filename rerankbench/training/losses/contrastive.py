"""The relevant candidate against the others of its list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.training.losses.loss import Reduction, Unit, require_positive
from rerankbench.training.losses.masking import logsumexp, prepared

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LocalizedContrastive:
    """-log of the softmax share of a relevant candidate among the irrelevant ones; InfoNCE over a list.

    scores, labels, mask: [B, N] -> [B]. Relevant is a label > 0. Several relevant ones are never each other's
    negatives: `first` takes the first of the list (lists are shuffled), `each` sums over them, `mass` takes the share
    of all together. temperature: divides the scores. LCE, Gao et al., arXiv 2101.08751; InfoNCE, van den Oord et al.,
    arXiv 1807.03748.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    positives: Literal["first", "each", "mass"] = "first"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        scores = prepared(scores, mask) / self.temperature
        valid = self.valid(labels, mask)
        relevant, others = mask & (labels > 0), mask & (labels <= 0)
        # Lists with no negative, or none relevant, have no finite sum; 0 stands in, as they do not count.
        against = logsumexp(scores, others).masked_fill(~valid, 0)
        if self.positives == "mass":
            return -logsigmoid(logsumexp(scores, relevant).masked_fill(~valid, 0) - against).masked_fill(~valid, 0)
        if self.positives == "first":
            relevant = relevant & (relevant.cumsum(1) == 1)
        return -logsigmoid(scores - against[:, None]).masked_fill(~(relevant & valid[:, None]), 0).sum(1)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (mask & (labels > 0)).any(1) & (mask & (labels <= 0)).any(1)
