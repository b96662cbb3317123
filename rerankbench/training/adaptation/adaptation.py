"""An adaptation chooses what of a network is trained; applied to one network, it follows the training to its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch


class Adaptation:
    """The configuration of an adaptation: frozen and stateless, it can be applied to several networks at once.

    merges: whether merging gives a plain network, which a later stage can train.
    """

    merges: ClassVar[bool] = True

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedAdaptation:
        """Change the network in place: add modules, choose what `requires_grad`. Its outputs stay the same to 1e-5.

        Raises ConfigError where the configuration does not fit the network.
        """
        raise NotImplementedError


@dataclass
class AppliedAdaptation:
    """An adaptation at work on one network: holds all state, and is called around each step of the optimiser.

    The defaults are those of an adaptation that acts in `apply` only.
    """

    network: torch.nn.Module

    @property
    def eligible_as_best(self) -> bool:
        """Whether a checkpoint of these weights may count as the best; not in a phase that is only preparation."""
        return True

    def optimizer(self, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer | None:
        """An optimiser of its own, or None for the stage's AdamW over what requires a gradient."""
        return None

    def before_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """After the backward pass, before the optimiser's step. step: from 0; total: steps of the stage."""

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """After the optimiser's step."""

    def merge(self) -> None:
        """Make the network a plain one again, in place, all trainable, with the same outputs to 1e-5.

        What cannot be merged stays in the network.
        """
        self.network.requires_grad_(True)

    def save(self, folder: Path) -> None:
        """Write what a checkpoint of the plain network lacks into the checkpoint's folder; called before `merge`."""

    def state(self) -> dict[str, Any]:
        """All that resuming needs beyond the network's own state dict and the optimiser's (tensors, plain values)."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state`, after `apply` on a network with the same layers."""

    def report(self) -> dict[str, float]:
        """What to log: switched vectors, active ranks, gates."""
        return {}
