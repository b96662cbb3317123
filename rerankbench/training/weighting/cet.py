"""Hidden positives among the negatives: who was judged at all? (CET, Cai et al., CIKM 2022, arXiv 2209.05072)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.weighting.ease import ABSENT_RANK, ease

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch
    from rerankbench.training.losses.loss import Unit


@dataclass(frozen=True, kw_only=True)
class CET:
    """A positive label needs selection and relevance. The network in training gives R, the log-odds of relevance; the
    module, a small network over what the pooling saw (first-stage rank and score, length), S, those of selection.

    posterior: a document that nobody judged is relevant with probability P = e^R / (1 + e^R + e^S), its label in the
    loss; S learns from e^S / (1 + e^R + e^S) likewise: the E-step of both logistic models, not of the paper. What both
    can explain goes to whichever learns faster, so S must learn well ahead of R: `learning_rate` ten times R's or more.
    ipw: pairs are weighted by 1 / (1 − σ(S/τ)) = 1 + e^{S/τ} of the loser; S learns to set positives over negatives,
    weighted by R in the same way. Pairs leave the level of both scores open, so they are centred over the batch.
    released: the same without centring, as in the paper's code, where S is a second cross-encoder over the texts.

    temperature (τ), clip (the greatest weight) and mean_one (divide a batch's weights by their mean) belong to the
    weights of pairs. hidden: width of the module. learning_rate: of the module.
    """

    variant: Literal["posterior", "ipw", "released"] = "posterior"
    temperature: float = 2.0
    clip: float | None = 10.0
    mean_one: bool = True
    hidden: int = 16
    learning_rate: float = 1e-2
    seed: int = 0
    _last: dict[str, float] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError("temperature", f"must be above 0, got {self.temperature}")
        if self.clip is not None and self.clip <= 1:
            raise ConfigError("clip", f"must be above 1, the least weight there is, or null, got {self.clip}")
        if self.hidden < 1:
            raise ConfigError("hidden", f"must be at least 1, got {self.hidden}")
        if self.learning_rate <= 0:
            raise ConfigError("learning_rate", f"must be above 0, got {self.learning_rate}")

    @functools.cached_property
    def module(self) -> torch.nn.Module:
        """S: features [..., 4] -> log-odds of selection [..., 1]."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return torch.nn.Sequential(
                torch.nn.Linear(4, self.hidden), torch.nn.ReLU(), torch.nn.Linear(self.hidden, 1)
            )

    def labels(self, batch: Batch, scores: torch.Tensor) -> torch.Tensor:
        """Posterior: 1 for a positive, 0 for a judged negative, P for what nobody judged; otherwise the batch's own."""
        import torch

        if self.variant != "posterior":
            return batch.labels
        with torch.no_grad():
            relevant, _ = _posterior(batch, scores.detach(), self._selection(batch))
        unjudged = _unjudged(batch)
        self._last["hidden"] = float((relevant * unjudged).sum() / unjudged.sum().clamp(min=1))
        return relevant

    def weights(
        self, batch: Batch, scores: torch.Tensor, values: torch.Tensor, valid: torch.Tensor, unit: Unit, progress: float
    ) -> torch.Tensor:
        """Posterior: 1 for each candidate. Otherwise a pair's weight, by its loser. 0 where not valid.

        Raises ConfigError for a loss over other units and, for posterior, for one that is not bce to these labels.
        """
        import torch

        with torch.no_grad():
            selection = self._selection(batch)
            if self.variant == "posterior":
                relevant, _ = _posterior(batch, scores.detach(), selection)
                _require_cross_entropy(scores.detach(), relevant, values.detach(), valid, unit)
                return valid.to(values.dtype)
            if unit != "pair":
                raise ConfigError(
                    "weighting.variant",
                    f"{self.variant} weights pairs (loss ranknet, softmax_pair or hinge), not {unit}s",
                )
            losers = self._inverse(selection, batch.mask).to(values.dtype)
        return self._normalised(losers[:, None, :].expand_as(values), valid)

    def own_loss(self, batch: Batch, scores: torch.Tensor) -> torch.Tensor:
        """Of S: cross-entropy to its posterior over all candidates, or pairs of positives and negatives by R."""
        import torch

        selection, scores = self._selection(batch), scores.detach()
        self._last["selected"] = float(torch.sigmoid(selection.detach())[batch.mask].mean())
        if self.variant == "posterior":
            _, selected = _posterior(batch, scores, selection.detach())
            return torch.nn.functional.binary_cross_entropy_with_logits(selection[batch.mask], selected[batch.mask])
        pairs = (batch.labels > 0)[:, :, None] & _unjudged(batch)[:, None, :]
        losses = torch.nn.functional.softplus(selection[:, None, :] - selection[:, :, None])
        weights = self._normalised(self._inverse(scores, batch.mask)[:, None, :].expand_as(losses), pairs)
        return (weights * losses).sum() / pairs.sum().clamp(min=1)

    def report(self) -> dict[str, float]:
        """selected: mean σ(S). hidden: mean P of what nobody judged (posterior)."""
        return dict(self._last)

    def _selection(self, batch: Batch) -> torch.Tensor:
        selection: torch.Tensor = self.module(_features(batch)).squeeze(-1)
        return selection

    def _inverse(self, scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """1 / (1 − σ(score / τ)) [B, N], at most `clip`."""
        if self.variant == "ipw":
            scores = scores - scores[mask].mean()
        return (1 + (scores / self.temperature).exp()).clamp(max=self.clip or math.inf)

    def _normalised(self, weights: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        weights = weights.masked_fill(~valid, 0)
        if not self.mean_one or not valid.any():
            return weights
        return weights * valid.sum() / weights.sum()


def _require_cross_entropy(
    scores: torch.Tensor, targets: torch.Tensor, values: torch.Tensor, valid: torch.Tensor, unit: Unit
) -> None:
    """ConfigError unless the values are cross-entropies to these targets: a threshold would undo them silently."""
    import torch

    if unit == "item":
        expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        if torch.allclose(values[valid], expected[valid].to(values.dtype), rtol=1e-3, atol=1e-4):
            return
    raise ConfigError(
        "weighting.variant", "posterior gives labels in [0, 1]; the loss for them is bce with threshold=null highest=1"
    )


def _posterior(batch: Batch, relevance: torch.Tensor, selection: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """P(relevant) and P(selected) given what was labelled, from both log-odds; all [B, N], padding 0."""
    import torch

    neither = torch.zeros_like(relevance)
    cases = torch.stack([relevance, selection.to(relevance.dtype), neither]).softmax(0)
    unjudged = _unjudged(batch)
    relevant = torch.where(unjudged, cases[0], (batch.labels > 0).to(relevance.dtype))
    selected = torch.where(unjudged, cases[1], batch.mask.to(relevance.dtype))
    return relevant, selected


def _unjudged(batch: Batch) -> torch.Tensor:
    """Which candidates nobody judged: taken for negatives without a person's word. [B, N] bool."""
    judged = _columns(batch, [group.judged for group in batch.groups])
    return batch.mask & (batch.labels <= 0) & ~judged.bool()


def _features(batch: Batch) -> torch.Tensor:
    """What the pooling saw of each candidate, about [0, 1]: log rank, absence, score within its list, log length."""
    import torch

    ranks = batch.ranks.masked_fill(batch.ranks == 0, ABSENT_RANK).float()
    lengths = _columns(batch, [[len(document.text) for document in group.documents] for group in batch.groups])
    columns = [ranks.log() / math.log(ABSENT_RANK), batch.ranks == 0, ease(batch, "normscore"), lengths.log1p() / 10]
    return torch.stack([column.float() for column in columns], dim=-1)


def _columns(batch: Batch, rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """What is known of each group's candidates, [B, N] float32, padding 0.

    Raises ConfigError for a batch whose rows hold other queries' candidates, of which the pooling said nothing.
    """
    import torch

    width = batch.mask.shape[1]
    if width > max(map(len, rows)):
        raise ConfigError("weighting", "cet wants each query's own candidates alone: groups.in_batch=false")
    padded = [[*map(float, row), *[0.0] * (width - len(row))] for row in rows]
    return torch.tensor(padded, device=batch.mask.device)
