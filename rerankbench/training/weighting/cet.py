"""Hidden positives among the negatives: which were judged at all? (CET, Cai et al., CIKM 2022, arXiv 2209.05072)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.groups import Group
from rerankbench.training.scored import Scored, Values
from rerankbench.training.weighting.ease import MISSING_RANK, ease
from rerankbench.training.weighting.weighting import AppliedWeighting, Weighting

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class CET(Weighting):
    """A positive label needs selection and relevance. The network in training gives R, the log-odds of relevance; the
    module, a small network over what the pooling saw (first-stage rank and score, length), S, those of selection.

    posterior: an unjudged document is relevant with probability P = e^R / (1 + e^R + e^S), its label in the loss; S
    learns from e^S / (1 + e^R + e^S) likewise: the E-step of both logistic models, not of the paper. What both can
    explain goes to whichever learns faster, so S must learn well ahead of R: `learning_rate` ten times R's or more.
    ipw: pairs are weighted by 1 / (1 − σ(S/τ)) = 1 + e^{S/τ} of the loser; S learns to set positives over negatives,
    weighted by R in the same way. Pairs leave the level of both scores open, so they are centred over the batch.
    released: the same without centring, as in the paper's code, where S is a second cross-encoder over the texts.

    temperature (τ), clip (the greatest weight) and mean_one (divide a batch's weights by their mean) belong to the
    weights of pairs. hidden: width of the module. learning_rate: of the module.
    """

    variant: Literal["posterior", "ipw", "released"] = "posterior"
    temperature: Annotated[float, Gt(0)] = 2.0
    clip: Annotated[float, Gt(1)] | None = 10.0
    mean_one: bool = True
    hidden: Annotated[int, Ge(1)] = 16
    learning_rate: Annotated[float, Gt(0)] = 1e-2
    seed: int = 0

    def begin(self) -> AppliedCET:
        """See Weighting."""
        return AppliedCET(self)


class AppliedCET(AppliedWeighting):
    """See CET. module: S, features [..., 4] -> log-odds of selection [..., 1]."""

    module: torch.nn.Module

    def __init__(self, options: CET) -> None:
        import torch

        super().__init__()
        self.options, self.learning_rate = options, options.learning_rate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.module = torch.nn.Sequential(
                torch.nn.Linear(4, options.hidden), torch.nn.ReLU(), torch.nn.Linear(options.hidden, 1)
            )

    def labels(self, scored: Scored) -> torch.Tensor:
        """Posterior: 1 for a positive, 0 for a judged negative, P for an unjudged document; else the groups' own."""
        import torch

        if self.options.variant != "posterior":
            return scored.labels
        with torch.no_grad():
            relevant, _ = self._posterior(scored, self._selection(scored))
        unjudged = self._unjudged(scored)
        self.last["hidden"] = float((relevant * unjudged).sum() / unjudged.sum().clamp(min=1))
        return relevant

    def weights(self, scored: Scored, values: Values) -> torch.Tensor:
        """Posterior: 1 for each candidate. Otherwise a pair's weight, by its loser.

        Raises ConfigError for a loss over other units and, for posterior, for one that is not bce to these labels.
        """
        import torch

        dtype = values.values.dtype
        with torch.no_grad():
            selection = self._selection(scored)
            if self.options.variant == "posterior":
                self._require_cross_entropy(scored, self._posterior(scored, selection)[0], values)
                return values.valid.to(dtype)
            if values.unit != "pair":
                problem = f"weights pairs (loss ranknet, softmax_pair or hinge), not {values.unit}s"
                raise ConfigError(key_of(self.options, "variant"), f"{self.options.variant} {problem}")
            losers = self._inverse(selection, scored.mask).to(dtype)
        return self._normalised(losers[:, None, :].expand_as(values.values), values.valid)

    def own_loss(self, scored: Scored) -> torch.Tensor:
        """Of S: cross-entropy to its posterior over all candidates, or pairs of positives and negatives by R."""
        import torch

        selection, mask = self._selection(scored), scored.mask
        self.last["selected"] = float(torch.sigmoid(selection.detach())[mask].mean())
        if self.options.variant == "posterior":
            _, selected = self._posterior(scored, selection.detach())
            return torch.nn.functional.binary_cross_entropy_with_logits(selection[mask], selected[mask])
        pairs = (scored.labels > 0)[:, :, None] & self._unjudged(scored)[:, None, :]
        losses = torch.nn.functional.softplus(selection[:, None, :] - selection[:, :, None])
        weights = self._normalised(self._inverse(scored.scores, mask)[:, None, :].expand_as(losses), pairs)
        return (weights * losses).sum() / pairs.sum().clamp(min=1)

    def _selection(self, scored: Scored) -> torch.Tensor:
        """S from what the pooling saw, about [0, 1]: log rank, whether missing, score within its list, log length."""
        import torch

        assert scored.batch is not None
        ranks = scored.batch.ranks
        columns = [
            ranks.masked_fill(ranks == 0, MISSING_RANK).float().log() / math.log(MISSING_RANK),
            ranks == 0,
            ease(scored.batch, "normscore"),
            self._column(scored, lambda group: [len(document.text) for document in group.documents]).log1p() / 10,
        ]
        selection: torch.Tensor = self.module(torch.stack([column.float() for column in columns], dim=-1)).squeeze(-1)
        return selection

    def _posterior(self, scored: Scored, selection: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """P(relevant) and P(selected) given the labels, from both log-odds; all [B, N], padding 0."""
        import torch

        relevance, unjudged = scored.scores, self._unjudged(scored)
        cases = torch.stack([relevance, selection.to(relevance.dtype), torch.zeros_like(relevance)]).softmax(0)
        relevant = torch.where(unjudged, cases[0], (scored.labels > 0).to(relevance.dtype))
        selected = torch.where(unjudged, cases[1], scored.mask.to(relevance.dtype))
        return relevant, selected

    def _unjudged(self, scored: Scored) -> torch.Tensor:
        """Which candidates nobody judged, and so only pass for negatives. [B, N] bool."""
        return scored.mask & (scored.labels <= 0) & ~self._column(scored, lambda group: group.judged).bool()

    def _column(self, scored: Scored, row: Callable[[Group], Sequence[float]]) -> torch.Tensor:
        """A number for each of the groups' candidates, [B, N] float32, padding 0.

        Raises ConfigError for a batch whose rows hold other queries' candidates, of which the pooling knew nothing.
        """
        import torch

        assert scored.batch is not None
        rows = [[float(value) for value in row(group)] for group in scored.batch.groups]
        width = scored.mask.shape[1]
        if width > max(map(len, rows)):
            raise ConfigError(key_of(self.options, ""), "cet needs each query's own candidates: groups.in_batch=false")
        padded = [values + [0.0] * (width - len(values)) for values in rows]
        return torch.tensor(padded, device=scored.mask.device)

    def _inverse(self, scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """1 / (1 − σ(score / τ)) [B, N], at most `clip`."""
        if self.options.variant == "ipw":
            scores = scores - scores[mask].mean()
        return (1 + (scores / self.options.temperature).exp()).clamp(max=self.options.clip or math.inf)

    def _normalised(self, weights: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        weights = weights.masked_fill(~valid, 0)
        if not self.options.mean_one or not valid.any():
            return weights
        return weights * valid.sum() / weights.sum()

    def _require_cross_entropy(self, scored: Scored, targets: torch.Tensor, values: Values) -> None:
        """ConfigError unless the values are cross-entropies to these targets: a threshold would undo them silently."""
        import torch

        if values.unit == "item":
            expected = torch.nn.functional.binary_cross_entropy_with_logits(scored.scores, targets, reduction="none")
            valid, dtype = values.valid, values.values.dtype
            if torch.allclose(values.values[valid], expected[valid].to(dtype), rtol=1e-3, atol=1e-4):
                return
        problem = "posterior gives labels in [0, 1]; the loss for them is bce with threshold=null highest=1"
        raise ConfigError(key_of(self.options, "variant"), problem)
