"""What a loss is: unreduced, masked, with a unit of its own; and the one reduction, after weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.losses.masking import has_levels, ordered_pairs
from rerankbench.training.scored import Scored, Unit, Values

if TYPE_CHECKING:
    import torch

Reduction = Literal["per_list", "list_sum", "global"]
"""Mean inside each list, then over lists; sum inside each list, then mean over lists; mean over all that counts."""


class Loss:
    """A configured loss: a frozen dataclass whose fields are its hyper-parameters."""

    unit: ClassVar[Unit]
    reduction: Reduction = "per_list"
    """How `reduced` makes one number of its values; for a unit of `list` all three are the same."""

    def __call__(self, scored: Scored) -> Values:
        """The values and which of them count, both in the shape of the unit."""
        return Values(self.values(scored), self.valid(scored.labels, scored.mask))

    def values(self, scored: Scored) -> torch.Tensor:
        """The values in the shape of the unit; anything finite where `valid` is False."""
        raise NotImplementedError

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Which values count, known before the forward pass: bool, in the shape of the unit. labels, mask: [B, N].

        By default real candidates, pairs whose row has the higher label, and lists with two different labels.
        """
        if self.unit == "item":
            return mask
        return ordered_pairs(labels, mask) if self.unit == "pair" else has_levels(labels, mask)

    def components(self) -> Mapping[str, tuple[float, Loss]]:
        """The losses whose weighted sum it is, as (weight, loss) by name; most are one by themselves."""
        return {"loss": (1.0, self)}


def reduced(loss: Loss, values: Values, weights: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted sum (a scalar, float32 or better) and the count (int64) to divide it by.

    weights: in the shape of the loss's unit. Sums and counts of a step's parts (accumulation, ranks) add up: its loss
    is Σ sum / max(Σ count, 1), however it is cut.
    """
    terms, valid = values.values, values.valid
    if weights is not None:
        terms = terms * weights.to(terms.dtype).masked_fill(~valid, 0)
    if loss.reduction == "per_list" and valid.ndim > 1:
        terms = terms.flatten(1).sum(1) / _cells(valid).clamp(min=1)
    return terms.sum(), _count(loss, valid)


def expected_count(loss: Loss, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The count that `reduced` will return, known before the forward pass. labels, mask: [B, N]."""
    return _count(loss, loss.valid(labels, mask))


def require_teacher(loss: Loss, scored: Scored) -> torch.Tensor:
    """The teacher's scores [B, N]; ConfigError, with the loss's key, if there are none."""
    if scored.teacher is None:
        raise ConfigError(key_of(loss, ""), "needs the scores of a teacher, and the training groups have none")
    return scored.teacher


def _count(loss: Loss, valid: torch.Tensor) -> torch.Tensor:
    """The number of valid cells (global), or of lists with a valid cell."""
    cells = _cells(valid)
    return cells.sum() if loss.reduction == "global" else (cells > 0).sum()


def _cells(valid: torch.Tensor) -> torch.Tensor:
    """Valid values of each list, [B]."""
    return valid.reshape(len(valid), -1).sum(1)
