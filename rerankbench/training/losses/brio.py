"""Margins that grow with the distance in rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rerankbench.training.losses.loss import Reduction, Unit, require_positive
from rerankbench.training.losses.masking import differences, has_levels, ordered_pairs, prepared, ranks

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Brio:
    """Σ_k mean_i max(0, s_(i+k) - s_(i) + k·margin), (i) the i-th by label. scores, labels, mask: [B, N] -> [B].

    Equal labels keep the order given, and are no pair themselves. BRIO, Liu et al., arXiv 2203.16804.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    margin: float = 0.001

    def __post_init__(self) -> None:
        require_positive("margin", self.margin)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        import torch

        scores = prepared(scores, mask)
        pairs = ordered_pairs(labels, mask)
        apart = -differences(ranks(labels, mask)) * pairs
        short = (apart * self.margin - differences(scores)).clamp(min=0).masked_fill(~pairs, 0)
        width = mask.shape[1]
        # Pairs at each distance, counted and then looked up by each pair of that distance.
        counts = torch.zeros(len(mask), width, dtype=scores.dtype, device=scores.device)
        counts = counts.scatter_add(1, apart.flatten(1), pairs.flatten(1).to(scores.dtype))
        at_distance = counts.gather(1, apart.flatten(1)).clamp(min=1).view_as(short)
        return (short / at_distance).sum((1, 2))

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)
