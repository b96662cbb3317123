"""LambdaRank and the NDCG losses of the LambdaLoss framework: RankNet, pairs weighted by their worth in nDCG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.losses.loss import Reduction, Unit, require_positive
from rerankbench.training.losses.masking import differences, has_levels, ordered_pairs, prepared, ranks, two_real

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LambdaLoss:
    """log(1 + exp(-sigma·(s_i - s_j))) · weight where y_i > y_j. scores, labels, mask: [B, N] -> [B, N, N].

    With gains G = (2^y - 1)/IDCG@k and discounts D = log2(1 + rank by score), the weights, which carry no gradient:
    lambdarank |G_i - G_j|·|1/D_i - 1/D_j|; ndcg_loss1 G_i/D_i, over all i ≠ j; ndcg_loss2 |G_i - G_j|·δ with
    δ = |1/log2(1 + a) - 1/log2(2 + a)| at distance a = |rank_i - rank_j|; ndcg_loss2pp the first + mu · the third.
    k: None for the whole list; else pairs count if `either` or `both` ranks are in the top k. Summed in each list, as
    the weights normalise. Burges, MSR-TR-2010-82; Wang et al., CIKM 2018.
    """

    unit: ClassVar[Unit] = "pair"
    reduction: ClassVar[Reduction] = "list_sum"
    scheme: Literal["lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp"] = "lambdarank"
    sigma: float = 1.0
    mu: float = 10.0
    k: int | None = None
    top: Literal["either", "both"] = "either"

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_positive("mu", self.mu)
        if self.k is not None and self.k < 1:
            raise ConfigError("k", f"must be ≥ 1 or null, got {self.k}")

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

        scores = prepared(scores, mask)
        places = ranks(scores, mask)
        values = -logsigmoid(self.sigma * differences(scores)) * self._weights(prepared(labels, mask), mask, places)
        counted = self.valid(labels, mask)
        if self.k is not None:
            first, second = (places <= self.k)[:, :, None], (places <= self.k)[:, None, :]
            counted = counted & (first & second if self.top == "both" else first | second)
        return values.masked_fill(~counted, 0)

    def _weights(self, labels: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The weight of each pair, [B, N, N] or, where the column does not matter, [B, N, 1]."""
        gains = normalised_gains(labels, mask, self.k)
        discounts = 1 / (1 + places.to(labels.dtype)).log2()
        if self.scheme == "ndcg_loss1":
            return (gains * discounts)[:, :, None]
        swap = differences(discounts).abs()
        # A candidate has no distance to itself; the pair is masked, and 1 keeps the logarithm finite.
        distance = differences(places).abs().clamp(min=1).to(labels.dtype)
        delta = 1 / (1 + distance).log2() - 1 / (2 + distance).log2()
        worth = {"lambdarank": swap, "ndcg_loss2": delta, "ndcg_loss2pp": swap + self.mu * delta}[self.scheme]
        return differences(gains).abs() * worth

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.scheme == "ndcg_loss1":
            return two_real(mask) & has_levels(labels, mask)[:, None, None]
        return ordered_pairs(labels, mask)


def normalised_gains(labels: torch.Tensor, mask: torch.Tensor, k: int | None = None) -> torch.Tensor:
    """(2^label - 1) / IDCG@k, 0 in a list without a relevant candidate. labels, mask: [B, N] -> [B, N]."""
    import torch

    most = labels.masked_fill(~mask, 0).amax(1, keepdim=True)  # 2^128 is beyond float32; what both share cancels
    gains = ((labels - most).exp2() - (-most).exp2()).masked_fill(~mask, 0)
    best = gains.sort(dim=1, descending=True).values[:, :k]
    ideal = (best / torch.arange(2, best.shape[1] + 2, device=gains.device).to(gains.dtype).log2()).sum(1, keepdim=True)
    return gains / ideal.masked_fill(ideal == 0, 1)
