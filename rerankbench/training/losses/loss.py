"""What a loss is: unreduced, masked, with a unit of its own; and the one reduction, after weighting."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from rerankbench.errors import ConfigError

if TYPE_CHECKING:
    import torch

Unit = Literal["item", "pair", "list"]
"""What a value belongs to: a candidate [B, N], a pair [B, N, N] (row = the one that should win), or a list [B]."""

Reduction = Literal["per_list", "list_sum", "global"]
"""Mean inside each list, then over lists; sum inside each list, then mean over lists; mean over all that counts."""


class Loss(Protocol):
    """A configured loss; a frozen dataclass whose fields are its hyper-parameters."""

    unit: ClassVar[Unit]

    @property
    def reduction(self) -> Reduction:
        """How `reduced` makes one number of its values; for a unit of `list` all three are the same."""
        ...

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        """The values, in the shape of the unit; exactly 0 where `valid` is False.

        scores, labels (≥ 0), teacher: [B, N] float; mask: [B, N] bool. progress: share of the training done, in [0, 1].
        Raises ConfigError (key `loss`) where a teacher is needed and None is given.
        """
        ...

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Which values count, bool, in the shape of the unit: padding, ties and lists that say nothing do not."""
        ...


def reduced(
    loss: Loss, values: torch.Tensor, valid: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted sum (a scalar, float32 or better) and the count (int64) to divide it by.

    values, valid, weights: in the shape of the loss's unit. Sums and counts of a step's parts (accumulation, ranks) add
    up: its loss is Σ sum / max(Σ count, 1), however it is cut.
    """
    import torch

    values = values.to(torch.promote_types(values.dtype, torch.float32)).masked_fill(~valid, 0)
    if weights is not None:
        values = values * weights.to(values.dtype).masked_fill(~valid, 0)
    if loss.reduction == "per_list":
        values = values.flatten(1).sum(1) / _cells(valid).clamp(min=1) if valid.ndim > 1 else values
    return values.sum(), _count(loss, valid)


def expected_count(loss: Loss, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The count that `reduced` will return, known before the forward pass. labels, mask: [B, N]."""
    return _count(loss, loss.valid(labels, mask))


def _count(loss: Loss, valid: torch.Tensor) -> torch.Tensor:
    """How many cells (global) or how many lists with a cell count."""
    cells = _cells(valid)
    return cells.sum() if loss.reduction == "global" else (cells > 0).sum()


def _cells(valid: torch.Tensor) -> torch.Tensor:
    """Valid values of each list, [B]."""
    return valid.reshape(len(valid), -1).sum(1)


def require_positive(field: str, value: float) -> None:
    """ConfigError unless value > 0 (nan is not)."""
    if not value > 0:
        raise ConfigError(field, f"must be > 0, got {value}")


def require_teacher(teacher: torch.Tensor | None) -> torch.Tensor:
    """The teacher's scores; ConfigError if there are none."""
    if teacher is None:
        raise ConfigError("loss", "needs the scores of a teacher, and the training groups carry none")
    return teacher
