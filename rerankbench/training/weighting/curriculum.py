"""Easy samples first: weights from the first stage that rise to 1 (MacAvaney et al., SIGIR 2020, arXiv 2004.14269)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.weighting.ease import ease
from rerankbench.training.weighting.static import Unlearned

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch
    from rerankbench.training.losses.loss import Unit


@dataclass(frozen=True, kw_only=True)
class Curriculum(Unlearned):
    """W = D·(1 − p) + p, where D in [0, 1] is how easy a sample is and p = progress / `until`, at most 1.

    D of a candidate is its first-stage ease d if it is relevant, else 1 − d; of a pair (d_winner − d_loser + 1) / 2; of
    a list the least of its pairs, or 0.5 where it has none. anti: hard samples first, D ← 1 − D. until: the share of
    training after which all weights are 1. variant: a weight a sample, or, as the paper's code has it, their mean over
    the batch for all, which only slows the learning.
    """

    difficulty: Literal["reciprank", "normscore", "kde"] = "reciprank"
    anti: bool = False
    until: float = 0.5
    variant: Literal["per_sample", "batch_mean"] = "per_sample"

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1:
            raise ConfigError("until", f"must lie in (0, 1], a share of the training, got {self.until}")

    def weights(
        self, batch: Batch, scores: torch.Tensor, values: torch.Tensor, valid: torch.Tensor, unit: Unit, progress: float
    ) -> torch.Tensor:
        """Weights in [0, 1] in the shape of `values`, 0 where not valid; all 1 from `until` on."""
        easy = _easy(ease(batch, self.difficulty).to(values.dtype), batch, unit)
        done = min(progress / self.until, 1.0)
        easy = 1 - easy if self.anti else easy
        weights = ((easy + 1e-8) * (1 - done) + done).masked_fill(~valid, 0)
        count = valid.sum().clamp(min=1)
        if self.variant == "batch_mean":
            weights = (weights.sum() / count).expand_as(weights).masked_fill(~valid, 0)
        self._last["easy"] = float(easy.masked_fill(~valid, 0).sum() / count)
        return weights


def _easy(eased: torch.Tensor, batch: Batch, unit: Unit) -> torch.Tensor:
    """D in the unit's shape, from the candidates' ease [B, N]."""
    import torch

    if unit == "item":
        return torch.where(batch.labels > 0, eased, 1 - eased)
    pairs = (eased[:, :, None] - eased[:, None, :] + 1) / 2
    if unit == "pair":
        return pairs
    real = batch.mask[:, :, None] & batch.mask[:, None, :]
    wins = real & (batch.labels[:, :, None] > batch.labels[:, None, :])
    least = pairs.masked_fill(~wins, torch.inf).amin((1, 2))
    return least.masked_fill(~wins.any(2).any(1), 0.5)
