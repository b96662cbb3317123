"""Several losses at once, such as the joint losses of distillation and of FIRST (arXiv 2406.15657)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt, MinLen

from rerankbench.errors import ConfigError
from rerankbench.training.losses.loss import Loss


@dataclass(frozen=True, kw_only=True)
class Sum(Loss):
    """Σ weight · loss, each loss reduced by its own rule, so none weighs more for having more values.

    losses: by the name under which each is logged. weights: by the same names; 1 where none is given.
    """

    losses: Annotated[Mapping[str, Loss], MinLen(1)]
    weights: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted({*self.weights} - {*self.losses}):
            raise ConfigError(f"weights.{unknown[0]}", f"is not one of the losses: {', '.join(self.losses)}")

    def components(self) -> Mapping[str, tuple[float, Loss]]:
        """See Loss."""
        return {name: (self.weights.get(name, 1.0), loss) for name, loss in self.losses.items()}
