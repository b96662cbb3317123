"""What losses and weightings are given of a step, and what a loss returns; padding and precision are handled here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch

Unit = Literal["item", "pair", "list"]
"""What a value belongs to: a candidate [B, N], a pair [B, N, N] (row = the one that should win), or a list [B]."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The scored candidates of B queries, whatever the padded cells held before.

    scores, labels (≥ 0), teacher: [B, N], made float32 or better, 0 in padded cells. mask: [B, N] bool, True for a real
    candidate. progress: share of the training done, in [0, 1]. outputs: the network's output for each input of the
    scorer. batch: the groups as tensors.
    """

    scores: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    teacher: torch.Tensor | None = None
    progress: float = 1.0
    outputs: Sequence[torch.Tensor] | None = None
    batch: Batch | None = None

    def __post_init__(self) -> None:
        for name in ("scores", "labels", "teacher"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _masked(given, self.mask))

    def detached(self) -> Scored:
        """The same without gradients."""
        outputs = None if self.outputs is None else [output.detach() for output in self.outputs]
        return replace(self, scores=self.scores.detach(), outputs=outputs)


@dataclass(frozen=True, eq=False)
class Values:
    """Unreduced values of a loss, float32 or better, in the shape of its unit; valid: which of them count (bool).

    The others are 0: padding, ties, and lists without information.
    """

    values: torch.Tensor
    valid: torch.Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _masked(self.values, self.valid))

    @property
    def unit(self) -> Unit:
        """What a value belongs to."""
        units: tuple[Unit, ...] = ("list", "item", "pair")
        return units[self.valid.ndim - 1]

    def detached(self) -> Values:
        """The same without gradients."""
        return replace(self, values=self.values.detach())


def _masked(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    import torch

    # Half precision ties scores that are apart and loses the small terms of a sum.
    return values.to(torch.promote_types(values.dtype, torch.float32)).masked_fill(~mask, 0)
