"""Easy samples first: weights from the first stage that rise to 1 (MacAvaney et al., SIGIR 2020, arXiv 2004.14269)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from rerankbench.training.losses.masking import ordered_pairs
from rerankbench.training.scored import Scored, Unit, Values
from rerankbench.training.weighting.ease import ease
from rerankbench.training.weighting.weighting import AppliedWeighting, Weighting

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Curriculum(Weighting):
    """W = D·(1 − p) + p, where D in [0, 1] is how easy a sample is and p = progress / `until`, at most 1.

    D of a candidate is its first-stage ease d if it is relevant, else 1 − d; of a pair (d_winner − d_loser + 1) / 2; of
    a list the least of its pairs, or 0.5 where it has none. anti: hard samples first, D ← 1 − D. until: the share of
    training after which all weights are 1. variant: a weight for each sample, or, as in the paper's code, their mean
    over the batch for all, which only slows the learning.
    """

    difficulty: Literal["reciprank", "normscore", "kde"] = "reciprank"
    anti: bool = False
    until: Annotated[float, Interval(gt=0, le=1)] = 0.5
    variant: Literal["per_sample", "batch_mean"] = "per_sample"

    def begin(self) -> AppliedCurriculum:
        """See Weighting."""
        return AppliedCurriculum(self)


class AppliedCurriculum(AppliedWeighting):
    """See Curriculum."""

    def __init__(self, options: Curriculum) -> None:
        super().__init__()
        self.options = options

    def weights(self, scored: Scored, values: Values) -> torch.Tensor:
        """Weights in [0, 1], all 1 from `until` on."""
        valid, dtype = values.valid, values.values.dtype
        assert scored.batch is not None
        easy = _easy(ease(scored.batch, self.options.difficulty).to(dtype), scored, values.unit)
        done = min(scored.progress / self.options.until, 1.0)
        easy = 1 - easy if self.options.anti else easy
        weights = ((easy + 1e-8) * (1 - done) + done).masked_fill(~valid, 0)
        count = valid.sum().clamp(min=1)
        if self.options.variant == "batch_mean":
            weights = (weights.sum() / count).expand_as(weights).masked_fill(~valid, 0)
        self.last["easy"] = float(easy.masked_fill(~valid, 0).sum() / count)
        return weights


def _easy(eased: torch.Tensor, scored: Scored, unit: Unit) -> torch.Tensor:
    """D in the unit's shape, from the candidates' ease [B, N]."""
    import torch

    if unit == "item":
        return torch.where(scored.labels > 0, eased, 1 - eased)
    pairs = (eased[:, :, None] - eased[:, None, :] + 1) / 2
    if unit == "pair":
        return pairs
    wins = ordered_pairs(scored.labels, scored.mask)
    least = pairs.masked_fill(~wins, torch.inf).amin((1, 2))
    return least.masked_fill(~wins.any(2).any(1), 0.5)
