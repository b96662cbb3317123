"""Hooks that do nothing: what an adaptation overrides is what it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Inert:
    """The hooks of an adaptation that acts in `apply` only; `merge` makes every parameter trainable again."""

    def optimizer(self, network: torch.nn.Module, learning_rate: float, weight_decay: float) -> Any | None:
        """None: the stage's AdamW over what requires a gradient."""
        return None

    def before_step(self, optimizer: Any, step: int, total: int) -> None:
        """Nothing."""

    def after_step(self, optimizer: Any, step: int, total: int) -> None:
        """Nothing."""

    def merge(self, network: torch.nn.Module) -> None:
        """Let every parameter require a gradient, as in a network that was just loaded."""
        network.requires_grad_(True)

    def save(self, network: torch.nn.Module, folder: Path) -> None:
        """Nothing: the merged network is all there is."""

    def state(self) -> dict[str, Any]:
        """Empty: the network's state dict and the optimiser's hold all."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def report(self) -> dict[str, float]:
        """Empty."""
        return {}
