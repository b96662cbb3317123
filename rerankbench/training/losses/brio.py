"""Margins that grow with the distance in rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Gt

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import differences, ordered_pairs, ranks
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Brio(Loss):
    """Σ_k mean_i max(0, s_(i+k) - s_(i) + k·margin), (i) the i-th by label, of each list.

    Equal labels keep the order given, and form no pair themselves. BRIO, Liu et al., arXiv 2203.16804.
    """

    unit: ClassVar[Unit] = "list"
    margin: Annotated[float, Gt(0)] = 0.001

    def values(self, scored: Scored) -> torch.Tensor:
        import torch

        pairs = ordered_pairs(scored.labels, scored.mask)
        distances = -differences(ranks(scored.labels, scored.mask)) * pairs
        violations = (distances * self.margin - differences(scored.scores)).clamp(min=0).masked_fill(~pairs, 0)
        # The number of pairs at each distance, looked up by each pair of that distance.
        counts = torch.zeros_like(scored.scores)
        counts = counts.scatter_add(1, distances.flatten(1), pairs.flatten(1).to(counts.dtype))
        at_distance = counts.gather(1, distances.flatten(1)).clamp(min=1).view_as(violations)
        return (violations / at_distance).sum((1, 2))
