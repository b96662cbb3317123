"""Losses of a list: the cross-entropy of the scores' softmax with a distribution made of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rerankbench.training.losses.loss import Reduction, Unit, require_positive
from rerankbench.training.losses.masking import has_levels, log_softmax, prepared

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ListNet:
    """Cross-entropy with softmax(labels / temperature). scores, labels, mask: [B, N] -> [B]. Cao et al., ICML 2007."""

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
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
        log_shares = log_softmax(prepared(scores, mask), mask)
        targets = log_softmax(prepared(labels, mask) / self.temperature, mask).exp()
        return -(targets * log_shares).sum(1).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)


@dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropy:
    """Cross-entropy with labels / Σ labels. scores, labels, mask: [B, N] -> [B]. Bruch et al., ICTIR 2019.

    With one relevant candidate it is `LocalizedContrastive`; with several they share the target.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"

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
        gains = prepared(labels, mask)
        targets = gains / gains.sum(1, keepdim=True).masked_fill(~valid[:, None], 1)
        return -(targets * log_softmax(prepared(scores, mask), mask)).sum(1).masked_fill(~valid, 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)
