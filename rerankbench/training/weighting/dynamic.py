"""Weights from the losses themselves, relative to their batch (Sow et al., ICLR 2025, arXiv 2502.06733)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.weighting.static import Unlearned

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch
    from rerankbench.training.losses.loss import Unit


@dataclass(frozen=True, kw_only=True)
class LossReweighting(Unlearned):
    """w = n · softmax(f(h) / r), where h is a sample's loss scaled to [−1, 1] by the least and greatest of the batch.

    linupper: f = min(h + 1, 1), which plays down only small losses. quadratic: 1 − h², the extremes. extremes: |h|, the
    middle. upper: (h + 1) / 2. The temperature r goes from `r_start` to `r_end`, geometrically, after `burn_in`: the
    share of training with all weights 1.

    A sample is a list for list losses, a candidate for item losses, and all pairs of a group, by their mean, for pair
    losses. The batch is what the processes hold in one forward pass, so weights depend on its size; alone in it, a
    sample has weight 1.
    """

    strategy: Literal["linupper", "quadratic", "extremes", "upper"] = "linupper"
    r_start: float = 1.0
    r_end: float = 1.0
    burn_in: float = 0.05

    def __post_init__(self) -> None:
        for name, value in (("r_start", self.r_start), ("r_end", self.r_end)):
            if value <= 0:
                raise ConfigError(name, f"must be above 0, got {value}")
        if not 0 <= self.burn_in < 1:
            raise ConfigError("burn_in", f"must lie in [0, 1), a share of the training, got {self.burn_in}")

    def weights(
        self, batch: Batch, scores: torch.Tensor, values: torch.Tensor, valid: torch.Tensor, unit: Unit, progress: float
    ) -> torch.Tensor:
        """Weights in the shape of `values`, 0 where not valid, with mean 1 over the valid samples of all processes."""
        losses, counted = _samples(values.detach(), valid, unit)
        weights = self._softmax(losses, counted, progress)
        return weights if unit != "pair" else weights[:, None, None] * valid

    def _softmax(self, losses: torch.Tensor, counted: torch.Tensor, progress: float) -> torch.Tensor:
        import torch

        low = -_over_processes(_greatest(-losses, counted), "max")
        high = _over_processes(_greatest(losses, counted), "max")
        samples = _over_processes(counted.sum(), "sum")
        ramp = max(progress - self.burn_in, 0) / (1 - self.burn_in)
        r = self.r_start ** (1 - ramp) * self.r_end**ramp
        self._last.update(samples=float(samples), temperature=r)
        # Not a choice of one process: all of them see the same progress, least and greatest.
        if progress < self.burn_in or high - low < 1e-6:
            return counted.to(losses.dtype)
        emphasis = self._emphasis((2 * losses - low - high) / (high - low)) / r
        shift = _over_processes(_greatest(emphasis, counted), "max")
        powers = torch.where(counted, (emphasis - shift).clamp(max=0).exp(), 0)
        return samples * powers / _over_processes(powers.sum(), "sum")

    def _emphasis(self, h: torch.Tensor) -> torch.Tensor:
        match self.strategy:
            case "linupper":
                return (h + 1).clamp(max=1)
            case "quadratic":
                return 1 - h**2
            case "extremes":
                return h.abs()
            case "upper":
                return (h + 1) / 2


def _samples(values: torch.Tensor, valid: torch.Tensor, unit: Unit) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples' losses, and which count: as they are, or for pairs [B, N, N] one a group, [B]."""
    if unit != "pair":
        return values, valid
    pairs = valid.sum((1, 2))
    return values.masked_fill(~valid, 0).sum((1, 2)) / pairs.clamp(min=1), pairs > 0


def _greatest(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return values.masked_fill(~counted, float("-inf")).max()


def _over_processes(value: torch.Tensor, operation: Literal["max", "sum"]) -> torch.Tensor:
    """The greatest, or the sum, of a scalar over all processes that train together."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value, distributed.ReduceOp.MAX if operation == "max" else distributed.ReduceOp.SUM)
    return value
