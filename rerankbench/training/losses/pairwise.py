"""Losses of each pair of candidates with different labels: the better one should score higher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import average_ranks, differences, distinct_pairs, ordered_pairs
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Hinge(Loss):
    """max(0, margin - (s_i - s_j)) where y_i > y_j. Joachims, KDD 2002."""

    unit: ClassVar[Unit] = "pair"
    margin: Annotated[float, Gt(0)] = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        return (self.margin - differences(scored.scores)).clamp(min=0)


@dataclass(frozen=True, kw_only=True)
class SoftmaxPair(Loss):
    """1 - σ(s_i - s_j) where y_i > y_j: the share of a pair's softmax that the worse one holds.

    Bounded: the gradient vanishes on pairs that are badly wrong, and with it the influence of false negatives.
    MacAvaney et al., arXiv 2004.14269 (OpenNIR).
    """

    unit: ClassVar[Unit] = "pair"
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        return (-differences(scored.scores)).sigmoid()


@dataclass(frozen=True, kw_only=True)
class RankNet(Loss):
    """log(1 + exp(-sigma·(s_i - s_j))) where y_i > y_j.

    tie_half: two equal labels are a pair too, won by each with probability ½; its value is at i < j.
    rank_weighted: times 1 / (r_i + r_j), r the ranks by label from 1, ties at their mean (FIRST, arXiv 2406.15657).
    Burges et al., ICML 2005.
    """

    unit: ClassVar[Unit] = "pair"
    sigma: Annotated[float, Gt(0)] = 1.0
    tie_half: bool = False
    rank_weighted: bool = False
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        labels = scored.labels
        gaps = self.sigma * differences(scored.scores)
        values = -logsigmoid(gaps)
        if self.tie_half:
            values = values.where(labels[:, :, None] != labels[:, None, :], (values - logsigmoid(-gaps)) / 2)
        if self.rank_weighted:
            ranks = average_ranks(labels, scored.mask)
            values = values / (ranks[:, :, None] + ranks[:, None, :])
        return values

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pairs of different labels, and with `tie_half` of equal ones."""
        pairs = ordered_pairs(labels, mask)
        if self.tie_half:
            pairs = pairs | (distinct_pairs(mask) & (labels[:, :, None] == labels[:, None, :])).triu()
        return pairs
