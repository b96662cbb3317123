"""Weights from the losses themselves, relative to their batch (Sow et al., ICLR 2025, arXiv 2502.06733)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt, Interval

from rerankbench.training.scored import Scored, Values
from rerankbench.training.weighting.weighting import AppliedWeighting, Weighting

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LossReweighting(Weighting):
    """w = n · softmax(f(h) / r), where h is a sample's loss scaled to [−1, 1] by the least and greatest of the batch.

    linupper: f = min(h + 1, 1), which plays down only small losses. quadratic: 1 − h², the extremes. extremes: |h|, the
    middle. upper: (h + 1) / 2. The temperature r goes from `r_start` to `r_end`, geometrically, after `burn_in`: the
    share of training with all weights 1.

    A sample is a list for list losses, a candidate for item losses, and all pairs of a group, by their mean, for pair
    losses. The batch is what all processes hold in one forward pass, so weights depend on its size; a sample alone in
    it has weight 1.
    """

    strategy: Literal["linupper", "quadratic", "extremes", "upper"] = "linupper"
    r_start: Annotated[float, Gt(0)] = 1.0
    r_end: Annotated[float, Gt(0)] = 1.0
    burn_in: Annotated[float, Interval(ge=0, lt=1)] = 0.05

    def begin(self) -> AppliedReweighting:
        """See Weighting."""
        return AppliedReweighting(self)


class AppliedReweighting(AppliedWeighting):
    """See LossReweighting."""

    def __init__(self, options: LossReweighting) -> None:
        super().__init__()
        self.options = options

    def weights(self, scored: Scored, values: Values) -> torch.Tensor:
        """Weights with mean 1 over the valid samples of all processes."""
        losses, counted = _samples(values)
        weights = self._softmax(losses, counted, scored.progress)
        return weights if values.unit != "pair" else weights[:, None, None] * values.valid

    def _softmax(self, losses: torch.Tensor, counted: torch.Tensor, progress: float) -> torch.Tensor:
        import torch

        low = -_over_processes(_greatest(-losses, counted), "max")
        high = _over_processes(_greatest(losses, counted), "max")
        samples = _over_processes(counted.sum(), "sum")
        ramp = max(progress - self.options.burn_in, 0) / (1 - self.options.burn_in)
        r = self.options.r_start ** (1 - ramp) * self.options.r_end**ramp
        self.last.update(samples=float(samples), temperature=r)
        # All processes decide alike: they have the same progress, least and greatest.
        if progress < self.options.burn_in or high - low < 1e-6:
            return counted.to(losses.dtype)
        emphasis = self._emphasis((2 * losses - low - high) / (high - low)) / r
        shift = _over_processes(_greatest(emphasis, counted), "max")
        powers = torch.where(counted, (emphasis - shift).clamp(max=0).exp(), 0)
        return samples * powers / _over_processes(powers.sum(), "sum")

    def _emphasis(self, h: torch.Tensor) -> torch.Tensor:
        match self.options.strategy:
            case "linupper":
                return (h + 1).clamp(max=1)
            case "quadratic":
                return 1 - h**2
            case "extremes":
                return h.abs()
            case "upper":
                return (h + 1) / 2


def _samples(values: Values) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples' losses, and which count: as they are, or for pairs [B, N, N] one for each group, [B]."""
    if values.unit != "pair":
        return values.values, values.valid
    pairs = values.valid.sum((1, 2))
    return values.values.sum((1, 2)) / pairs.clamp(min=1), pairs > 0


def _greatest(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return values.masked_fill(~counted, float("-inf")).max()


def _over_processes(value: torch.Tensor, operation: Literal["max", "sum"]) -> torch.Tensor:
    """The greatest, or the sum, of a scalar over all processes that train together."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value, distributed.ReduceOp.MAX if operation == "max" else distributed.ReduceOp.SUM)
    return value
