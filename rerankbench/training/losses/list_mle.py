"""Likelihood of the labels' order under a Plackett-Luce model of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import logsumexp, ranks
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch

Ties = Literal["average", "random", "stable"]


@dataclass(frozen=True, kw_only=True)
class ListMLE(Loss):
    """-log P(order by label | scores), a sum over the candidates of each list.

    ties: `average` compares each candidate with all of its own level and below, whatever their order; `random` draws
    an order of equal labels from torch's generator; `stable` takes the order given (for a teacher's permutation).
    drop_last_group: leave out the terms of the lowest level, which only order it within itself; with one relevant
    candidate it is then `LocalizedContrastive`. Xia et al., ICML 2008.
    """

    unit: ClassVar[Unit] = "list"
    ties: Literal["average", "random", "stable"] = "average"
    drop_last_group: bool = True

    def values(self, scored: Scored) -> torch.Tensor:
        order = _order(scored.labels, scored.mask, self.ties)
        return _terms(scored, order, self.ties, self.drop_last_group).sum(1)


@dataclass(frozen=True, kw_only=True)
class PositionAwareListMLE(Loss):
    """ListMLE whose term at position i of n weighs 2^(n-i) - 1.

    ties, drop_last_group: as in ListMLE; with `average`, equal labels share the mean of their weights.
    normalise: divide by the sum of the weights; without it they overflow float32 at some hundred candidates
    (ConfigError, key `normalise`). Lan et al., UAI 2014.
    """

    unit: ClassVar[Unit] = "list"
    ties: Literal["average", "random", "stable"] = "average"
    drop_last_group: bool = True
    normalise: bool = True

    def values(self, scored: Scored) -> torch.Tensor:
        scores, labels, mask = scored.scores, scored.labels, scored.mask
        if not self.normalise and mask.shape[1] > 100:
            problem = f"must be true for lists of more than 100, here {mask.shape[1]}"
            raise ConfigError(key_of(self, "normalise"), problem)
        order = _order(labels, mask, self.ties)
        sizes = mask.sum(1, keepdim=True)
        # Both terms divided by 2^n, which the normalisation cancels and which alone would overflow.
        weights = ((-order).to(scores.dtype).exp2() - (-sizes).to(scores.dtype).exp2()).masked_fill(~mask, 0)
        if self.ties == "average":
            level = ((labels[:, :, None] == labels[:, None, :]) & mask[:, None, :]).to(scores.dtype)
            weights = ((level * weights[:, None, :]).sum(2) / level.sum(2).clamp(min=1)).masked_fill(~mask, 0)
        if self.normalise:
            total = weights.sum(1, keepdim=True)
            weights = weights / total.masked_fill(total == 0, 1)
        else:
            weights = weights * sizes.to(scores.dtype).exp2()
        return (weights * _terms(scored, order, self.ties, self.drop_last_group)).sum(1)


def _order(labels: torch.Tensor, mask: torch.Tensor, ties: Ties) -> torch.Tensor:
    """Positions from 1 by label, highest first, equal labels as `ties` says: [B, N]."""
    import torch

    if ties != "random":
        return ranks(labels, mask)
    shuffle = torch.rand(labels.shape, device=labels.device).argsort(dim=1)
    return ranks(labels.gather(1, shuffle), mask.gather(1, shuffle)).gather(1, shuffle.argsort(dim=1))


def _terms(scored: Scored, order: torch.Tensor, ties: Ties, drop_last_group: bool) -> torch.Tensor:
    """log Σ exp of the scores from a candidate's position on, minus its own score: [B, N]."""
    import torch

    scores, labels, mask = scored.scores, scored.labels, scored.mask
    position = -labels if ties == "average" else order
    rest = position[:, None, :] >= position[:, :, None]
    terms = logsumexp(scores[:, None, :].expand(rest.shape), rest & mask[:, None, :]) - scores
    lowest = labels.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    return terms.masked_fill(~mask | (labels == lowest) if drop_last_group else ~mask, 0)
