"""nDCG made smooth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rerankbench.training.losses.lambda_rank import normalised_gains
from rerankbench.training.losses.loss import Reduction, Unit, require_positive
from rerankbench.training.losses.masking import has_levels, prepared, soft_ranks

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ApproxNDCG:
    """Minus nDCG with each rank replaced by 1 + Σ σ((s_j - s_i)/temperature). scores, labels, mask: [B, N] -> [B].

    In [-1, 0). A lower temperature is nearer to nDCG, with less gradient. Qin et al., Information Retrieval 2010.
    """

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
        places = soft_ranks(prepared(scores, mask), mask, self.temperature)
        gained = normalised_gains(prepared(labels, mask), mask) / (1 + places).log2()
        return -gained.sum(1).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)
