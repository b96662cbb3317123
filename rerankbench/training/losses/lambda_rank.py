"""LambdaRank and the NDCG losses of the LambdaLoss framework: RankNet, pairs weighted by their effect on nDCG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import differences, distinct_pairs, has_levels, ordered_pairs, ranks
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LambdaLoss(Loss):
    """log(1 + exp(-sigma·(s_i - s_j))) · weight where y_i > y_j.

    With gains G = (2^y - 1)/IDCG@k and discounts D = log2(1 + rank by score), the weights, which carry no gradient:
    lambdarank |G_i - G_j|·|1/D_i - 1/D_j|; ndcg_loss1 G_i/D_i, over all i ≠ j; ndcg_loss2 |G_i - G_j|·δ with
    δ = |1/log2(1 + a) - 1/log2(2 + a)| at distance a = |rank_i - rank_j|; ndcg_loss2pp the first + mu · the third.
    k: None for the whole list; else pairs count if `either` or `both` ranks are in the top k. Summed in each list, as
    the weights normalise. Burges, MSR-TR-2010-82; Wang et al., CIKM 2018.
    """

    unit: ClassVar[Unit] = "pair"
    reduction = "list_sum"
    scheme: Literal["lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp"] = "lambdarank"
    sigma: Annotated[float, Gt(0)] = 1.0
    mu: Annotated[float, Gt(0)] = 10.0
    k: Annotated[int, Ge(1)] | None = None
    top: Literal["either", "both"] = "either"

    def values(self, scored: Scored) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        positions = ranks(scored.scores, scored.mask)
        weights = self._weights(scored.labels, scored.mask, positions)
        values = -logsigmoid(self.sigma * differences(scored.scores)) * weights
        if self.k is None:
            return values
        first, second = (positions <= self.k)[:, :, None], (positions <= self.k)[:, None, :]
        return values.masked_fill(~(first & second if self.top == "both" else first | second), 0)

    def _weights(self, labels: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The weight of each pair, [B, N, N] or, where the column does not matter, [B, N, 1]."""
        gains = normalised_gains(labels, mask, self.k)
        discounts = 1 / (1 + positions.to(labels.dtype)).log2()
        if self.scheme == "ndcg_loss1":
            return (gains * discounts)[:, :, None]
        swap = differences(discounts).abs()
        # A candidate has no distance to itself; the pair is masked, and 1 keeps the logarithm finite.
        distance = differences(positions).abs().clamp(min=1).to(labels.dtype)
        delta = 1 / (1 + distance).log2() - 1 / (2 + distance).log2()
        effect = {"lambdarank": swap, "ndcg_loss2": delta, "ndcg_loss2pp": swap + self.mu * delta}[self.scheme]
        return differences(gains).abs() * effect

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pairs of different labels; for ndcg_loss1 all pairs of a list that has such a pair."""
        if self.scheme == "ndcg_loss1":
            return distinct_pairs(mask) & has_levels(labels, mask)[:, None, None]
        return ordered_pairs(labels, mask)


def normalised_gains(labels: torch.Tensor, mask: torch.Tensor, k: int | None = None) -> torch.Tensor:
    """(2^label - 1) / IDCG@k, 0 in a list without a relevant candidate. labels, mask: [B, N] -> [B, N]."""
    import torch

    highest = labels.masked_fill(~mask, 0).amax(1, keepdim=True)  # 2^128 is beyond float32; the common factor cancels
    gains = ((labels - highest).exp2() - (-highest).exp2()).masked_fill(~mask, 0)
    best = gains.sort(dim=1, descending=True).values[:, :k]
    ideal = (best / torch.arange(2, best.shape[1] + 2, device=gains.device).to(gains.dtype).log2()).sum(1, keepdim=True)
    return gains / ideal.masked_fill(ideal == 0, 1)
