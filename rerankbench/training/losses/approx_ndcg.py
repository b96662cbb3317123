"""nDCG made smooth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Gt

from rerankbench.training.losses.lambda_rank import normalised_gains
from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import soft_ranks
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ApproxNDCG(Loss):
    """Minus nDCG with each rank replaced by 1 + Σ σ((s_j - s_i)/temperature): a value in [-1, 0) for each list.

    A lower temperature is nearer to nDCG, with less gradient. Qin et al., Information Retrieval 2010.
    """

    unit: ClassVar[Unit] = "list"
    temperature: Annotated[float, Gt(0)] = 1.0

    def values(self, scored: Scored) -> torch.Tensor:
        ranks = soft_ranks(scored.scores, scored.mask, self.temperature)
        return -(normalised_gains(scored.labels, scored.mask) / (1 + ranks).log2()).sum(1)
