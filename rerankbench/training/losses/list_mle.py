"""Likelihood of the labels' order under a Plackett-Luce model of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.losses.loss import Reduction, Unit
from rerankbench.training.losses.masking import has_levels, logsumexp, prepared, ranks

if TYPE_CHECKING:
    import torch

Ties = Literal["average", "random", "stable"]


@dataclass(frozen=True, kw_only=True)
class ListMLE:
    """-log P(order by label | scores), a sum over candidates. scores, labels, mask: [B, N] -> [B].

    ties: `average` compares each candidate with all of its own level and below, whatever their order; `random` draws
    an order of equal labels from torch's generator; `stable` takes the order given (for a teacher's permutation).
    drop_last_group: leave out the terms of the lowest level, which only order it within itself; with one relevant
    candidate it is then `LocalizedContrastive`. Xia et al., ICML 2008.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    ties: Literal["average", "random", "stable"] = "average"
    drop_last_group: bool = True

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        order = _order(labels, mask, self.ties)
        terms = _terms(prepared(scores, mask), labels, mask, order, self.ties, self.drop_last_group)
        return terms.sum(1).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)


@dataclass(frozen=True, kw_only=True)
class PositionAwareListMLE:
    """ListMLE whose term at place i of n weighs 2^(n-i) - 1. scores, labels, mask: [B, N] -> [B].

    ties, drop_last_group: as in ListMLE; with `average`, equal labels share the mean of their weights.
    normalise: divide by the sum of the weights; without it they leave float32 at some hundred candidates
    (ConfigError, key `loss.normalise`). Lan et al., UAI 2014.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    ties: Literal["average", "random", "stable"] = "average"
    drop_last_group: bool = True
    normalise: bool = True

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        if not self.normalise and mask.shape[1] > 100:
            raise ConfigError("loss.normalise", f"must be true for lists of more than 100, here {mask.shape[1]}")
        scores = prepared(scores, mask)
        order = _order(labels, mask, self.ties)
        sizes = mask.sum(1, keepdim=True)
        # Both over 2^n, which the normalisation cancels and which alone would overflow.
        weights = ((-order).to(scores.dtype).exp2() - (-sizes).to(scores.dtype).exp2()).masked_fill(~mask, 0)
        if self.ties == "average":
            level = ((labels[:, :, None] == labels[:, None, :]) & mask[:, None, :]).to(scores.dtype)
            weights = ((level * weights[:, None, :]).sum(2) / level.sum(2).clamp(min=1)).masked_fill(~mask, 0)
        if self.normalise:
            total = weights.sum(1, keepdim=True)
            weights = weights / total.masked_fill(total == 0, 1)
        else:
            weights = weights * sizes.to(scores.dtype).exp2()
        terms = _terms(scores, labels, mask, order, self.ties, self.drop_last_group)
        return (weights * terms).sum(1).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)


def _order(labels: torch.Tensor, mask: torch.Tensor, ties: Ties) -> torch.Tensor:
    """Places from 1 by label, highest first, equal labels as `ties` says: [B, N]."""
    import torch

    if ties != "random":
        return ranks(labels, mask)
    shuffle = torch.rand(labels.shape, device=labels.device).argsort(dim=1)
    return ranks(labels.gather(1, shuffle), mask.gather(1, shuffle)).gather(1, shuffle.argsort(dim=1))


def _terms(
    scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, order: torch.Tensor, ties: Ties, drop: bool
) -> torch.Tensor:
    """log Σ exp of the scores from a candidate's place on, minus its own: [B, N]."""
    import torch

    place = -labels if ties == "average" else order
    rest = place[:, None, :] >= place[:, :, None]
    terms = logsumexp(scores[:, None, :].expand(rest.shape), rest & mask[:, None, :]) - scores
    lowest = labels.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    return terms.masked_fill(~mask | (labels == lowest) if drop else ~mask, 0)
