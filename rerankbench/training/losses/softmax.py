"""Losses of a list: the cross-entropy of the scores' softmax with a distribution made of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Gt

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import log_softmax
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ListNet(Loss):
    """Cross-entropy with softmax(labels / temperature). Cao et al., ICML 2007."""

    unit: ClassVar[Unit] = "list"
    temperature: Annotated[float, Gt(0)] = 1.0

    def values(self, scored: Scored) -> torch.Tensor:
        targets = log_softmax(scored.labels / self.temperature, scored.mask).exp()
        return -(targets * log_softmax(scored.scores, scored.mask)).sum(1)


@dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy with labels / Σ labels. Bruch et al., ICTIR 2019.

    With one relevant candidate it is `LocalizedContrastive`; several share the target.
    """

    unit: ClassVar[Unit] = "list"

    def values(self, scored: Scored) -> torch.Tensor:
        valid = self.valid(scored.labels, scored.mask)
        targets = scored.labels / scored.labels.sum(1, keepdim=True).masked_fill(~valid[:, None], 1)
        return -(targets * log_softmax(scored.scores, scored.mask)).sum(1)
