"""Losses of each pair of candidates with different labels: the better one should score higher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.training.losses.loss import Unit, require_positive
from rerankbench.training.losses.masking import average_ranks, differences, ordered_pairs, prepared, two_real

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """max(0, margin - (s_i - s_j)) where y_i > y_j. scores, labels, mask: [B, N] -> [B, N, N]. Joachims, KDD 2002."""

    unit: ClassVar[Unit] = "pair"
    margin: float = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

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
        gaps = differences(prepared(scores, mask))
        return (self.margin - gaps).clamp(min=0).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ordered_pairs(labels, mask)


@dataclass(frozen=True, kw_only=True)
class SoftmaxPair:
    """1 - σ(s_i - s_j) where y_i > y_j: the share of a pair's softmax that the worse one holds.

    scores, labels, mask: [B, N] -> [B, N, N]. Bounded: the gradient dies on pairs that are badly wrong, and with it
    the pull of false negatives. MacAvaney et al., arXiv 2004.14269 (OpenNIR).
    """

    unit: ClassVar[Unit] = "pair"
    reduction: Literal["per_list", "global"] = "per_list"

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        return (-differences(prepared(scores, mask))).sigmoid().masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ordered_pairs(labels, mask)


@dataclass(frozen=True, kw_only=True)
class RankNet:
    """log(1 + exp(-sigma·(s_i - s_j))) where y_i > y_j. scores, labels, mask: [B, N] -> [B, N, N].

    tie_half: two equal labels are a pair too, won by each with probability ½; its value stands at i < j.
    rank_weighted: times 1 / (r_i + r_j), r the places by label from 1, ties at their mean (FIRST, arXiv 2406.15657).
    Burges et al., ICML 2005.
    """

    unit: ClassVar[Unit] = "pair"
    sigma: float = 1.0
    tie_half: bool = False
    rank_weighted: bool = False
    reduction: Literal["per_list", "global"] = "per_list"

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)

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

        gaps = self.sigma * differences(prepared(scores, mask))
        values = -logsigmoid(gaps)
        if self.tie_half:
            values = values.where(labels[:, :, None] != labels[:, None, :], (values - logsigmoid(-gaps)) / 2)
        if self.rank_weighted:
            places = average_ranks(labels, mask)
            values = values / (places[:, :, None] + places[:, None, :])
        return values.masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        pairs = ordered_pairs(labels, mask)
        if self.tie_half:
            pairs = pairs | (two_real(mask) & (labels[:, :, None] == labels[:, None, :])).triu()
        return pairs
