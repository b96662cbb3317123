"""Sparse fine-tuning by a mask: train all weights, select those that moved most, rewind, train these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Interval

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.parts import head_tensors, train_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class SparseMask(Adaptation):
    """Lottery-ticket sparse fine-tuning (Ansell et al., arXiv 2110.07560); the scoring head is trained whole.

    weights: how many of the base's weights may differ in the end; below 1, a share of those that could.
    full: share of the stage's steps in the first phase, in which all are trained. freeze_layer_norm: do not train
    layer norms. l1: adds l1·mean|θ − θ0| to the loss, by its gradient. base_adapters: folders of adapters that are
    applied before, and are no part of the difference.
    """

    weights: Annotated[float, Gt(0)] = 0.01
    full: Annotated[float, Interval(gt=0, lt=1)] = 0.25
    freeze_layer_norm: bool = True
    l1: Annotated[float, Ge(0)] = 0.0
    base_adapters: Sequence[str] = ()

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedSparseMask:
        """Apply the base adapters, train the base and the scoring head, and remember the base's initial values."""
        from rerankbench.models.adapters.difference import apply_differences, base_parameters

        base = apply_differences(network, self.base_adapters, key_of(self, "base_adapters")).base
        network.requires_grad_(False)
        norms = {id(p) for m in network.modules() if "norm" in type(m).__name__.lower() for p in m.parameters()}
        excluded = norms if self.freeze_layer_norm else set()
        parameters = {name: p for name, p in base_parameters(network) if id(p) not in excluded}
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        train_head(network)
        start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        return AppliedSparseMask(network, self, base, parameters, start)


@dataclass
class AppliedSparseMask(AppliedAdaptation):
    """A network on its way to a sparse difference.

    base: fingerprint of the network before training. parameters, start: what is trained, and its initial values in both
    phases. masks: which weights may move; empty in the first phase. hooks: mask the gradients in the second.
    """

    configuration: SparseMask
    base: str
    parameters: dict[str, torch.nn.Parameter]
    start: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    hooks: list[Any] = field(default_factory=list)

    @property
    def eligible_as_best(self) -> bool:
        """Not in the first phase, which trains all weights."""
        return bool(self.masks)

    def before_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """Add the gradient of the L1 term, in the mask."""
        if not self.configuration.l1:
            return
        size = sum(parameter.numel() for parameter in self.parameters.values())
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                pull = (parameter.detach() - self.start[name]).sign() * (self.configuration.l1 / size)
                parameter.grad += pull * self.masks[name] if self.masks else pull

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """End the first phase after its share of the steps; in the second, undo what decay or momentum moved."""
        import torch

        if not self.masks:
            if step + 1 >= min(max(1, round(self.configuration.full * total)), total - 1):
                self._start_second_phase(optimizer)
            return
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.where(self.masks[name], parameter, self.start[name]))

    def merge(self) -> None:
        """The network is a plain one already: let all its weights move again."""
        for hook in self.hooks:
            hook.remove()
        super().merge()

    def save(self, folder: Path) -> None:
        """Write `difference/`: what moved, and the head. The checkpoint itself is whole without it."""
        from rerankbench.models.adapters.difference import Difference, save_difference

        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self.parameters.items():
            change = (parameter.detach() - self.start[name]).reshape(-1)
            index = (change.abs() >= 1e-7).nonzero()[:, 0]
            if len(index):
                tensors |= {f"index/{name}": index, f"value/{name}": change[index]}
        save_difference(folder / "difference", Difference("sparse", self.base, tensors, head_tensors(self.network)))

    def state(self) -> dict[str, Any]:
        """The masks, as flat indices, and the base's fingerprint: `apply` finds the initial values again."""
        return {"base": self.base, "masks": {n: m.reshape(-1).nonzero()[:, 0].cpu() for n, m in self.masks.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state`. Raises ConfigError if `apply` saw another network than it did then."""
        import torch

        if state["base"] != self.base:
            problem = "the network to start from is not the one that this training started from"
            raise ConfigError(key_of(self.configuration, ""), problem)
        self.masks.clear()
        for name, indices in state["masks"].items():
            mask = torch.zeros(self.start[name].numel(), dtype=torch.bool)
            mask[indices] = True
            self.masks[name] = mask.view_as(self.start[name]).to(self.start[name].device)
        self._mask_gradients()

    def report(self) -> dict[str, float]:
        """The phase, 1 or 2, and how many weights may move."""
        chosen = sum(int(mask.sum()) for mask in self.masks.values())
        free = chosen if self.masks else sum(p.numel() for p in self.parameters.values())
        return {"mask/phase": 2.0 if self.masks else 1.0, "mask/weights": float(free)}

    def _start_second_phase(self, optimizer: torch.optim.Optimizer) -> None:
        """Select the weights that moved most, over all parameters together; rewind; clear the optimiser's state."""
        import torch

        with torch.no_grad():
            moved = {n: (p - self.start[n]).abs().reshape(-1) for n, p in self.parameters.items()}
            size, weights = sum(len(values) for values in moved.values()), self.configuration.weights
            count = min(size, int(weights * size) if weights < 1 else int(weights))
            chosen = largest(torch.cat(list(moved.values())), count)
            first = 0
            for name, values in moved.items():
                inside = chosen[(chosen >= first) & (chosen < first + len(values))] - first
                mask = torch.zeros_like(values, dtype=torch.bool)
                mask[inside] = True
                self.masks[name] = mask.view_as(self.start[name])
                first += len(values)
                self.parameters[name].copy_(self.start[name])
        optimizer.state.clear()
        self._mask_gradients()

    def _mask_gradients(self) -> None:
        """Mask gradients as they are computed, so that clipping and moments see only what is trained."""
        for name, mask in self.masks.items():
            self.hooks.append(self.parameters[name].register_hook(mask.mul))  # type: ignore[no-untyped-call]


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """The indices of the `count` largest values of a vector, int64, ascending; among equals the first ones."""
    import torch

    if count == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    threshold = values.topk(count).values[-1]
    above = (values > threshold).nonzero()[:, 0]
    equal = (values == threshold).nonzero()[:, 0]
    return torch.cat([above, equal[: count - len(above)]]).sort().values
