"""What an adaptation is: applied before the optimiser exists, hooked into its steps, merged at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Adaptation(Protocol):
    """A configured adaptation of one network. `None` in a stage stands for training every parameter."""

    def apply(self, network: torch.nn.Module, seed: int) -> None:
        """Change the network in place: add modules, choose what `requires_grad`. Its outputs stay as they were."""
        ...

    def optimizer(self, network: torch.nn.Module, learning_rate: float, weight_decay: float) -> Any | None:
        """An optimiser of its own, or None for the stage's AdamW over what requires a gradient."""
        ...

    def before_step(self, optimizer: Any, step: int, total: int) -> None:
        """After the backward pass, before the optimiser's step. step: from 0; total: steps of the stage."""
        ...

    def after_step(self, optimizer: Any, step: int, total: int) -> None:
        """After the optimiser's step."""
        ...

    def merge(self, network: torch.nn.Module) -> None:
        """Make the network a plain one again, in place, with the same outputs to 1e-5; what cannot be merged stays."""
        ...

    def save(self, network: torch.nn.Module, folder: Path) -> None:
        """Write what a checkpoint of the plain network lacks, into the checkpoint's folder; before `merge`."""
        ...

    # One that trains in phases may say `presentable`: whether the weights are by now what it is to leave behind. Until
    # then no checkpoint counts as the best.

    def state(self) -> dict[str, Any]:
        """All that resuming needs beyond the network's own state dict and the optimiser's (tensors, plain values)."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        ...

    def report(self) -> dict[str, float]:
        """What to log: switched vectors, ranks kept, gates."""
        ...
