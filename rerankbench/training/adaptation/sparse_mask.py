"""Sparse fine-tuning by a mask: train all, keep the places that moved most, rewind, train those alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.training.adaptation.base import Inert
from rerankbench.training.adaptation.parts import head_tensors, heads

if TYPE_CHECKING:
    import torch


@dataclass
class Sparse:
    """A network on its way to a sparse difference.

    base: fingerprint of the network before anything. start: values from which both phases set out. masks: which places
    may move; empty in the first phase.
    """

    base: str
    parameters: dict[str, torch.nn.Parameter]
    start: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    hooks: list[Any] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SparseMask(Inert):
    """Lottery-ticket sparse fine-tuning (Ansell et al., arXiv 2110.07560); the scoring head is trained whole.

    weights: how many places of the base's weights may differ in the end; below 1, a share of those that could.
    full: share of the stage's steps in the first phase, in which all are trained. freeze_layer_norm: leave layer norms
    as they are. l1: adds l1·mean|θ − θ0| to the loss, by its gradient. below: folders of adapters that are applied
    before, and are no part of the difference.
    """

    weights: float = 0.01
    full: float = 0.25
    freeze_layer_norm: bool = True
    l1: float = 0.0
    below: Sequence[str] = ()
    _sparse: list[Sparse] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.weights <= 0:
            raise ConfigError("weights", f"must be above 0, got {self.weights}")
        if not 0 < self.full < 1:
            raise ConfigError("full", f"must lie in (0, 1), got {self.full}")
        if self.l1 < 0:
            raise ConfigError("l1", f"must be at least 0, got {self.l1}")

    def apply(self, network: torch.nn.Module, seed: int) -> None:
        """Apply the adapters below, train the base and the scoring head, and remember where the base set out from."""
        from rerankbench.models.adapters.difference import applied, base_fingerprint, base_parameters

        base = applied(network, self.below).base if self.below else base_fingerprint(network)
        network.requires_grad_(False)
        norms = {id(p) for m in network.modules() if "norm" in type(m).__name__.lower() for p in m.parameters()}
        found = dict(base_parameters(network))
        if self.freeze_layer_norm:
            found = {name: parameter for name, parameter in found.items() if id(parameter) not in norms}
        for parameter in found.values():
            parameter.requires_grad_(True)
        for head in heads(network):
            head.requires_grad_(True)
        start = {name: parameter.detach().clone() for name, parameter in found.items()}
        self._sparse[:] = [Sparse(base, found, start)]

    def before_step(self, optimizer: Any, step: int, total: int) -> None:
        """Add the gradient of the L1 term, in the mask."""
        (sparse,) = self._sparse
        if not self.l1:
            return
        size = sum(parameter.numel() for parameter in sparse.parameters.values())
        for name, parameter in sparse.parameters.items():
            if parameter.grad is not None:
                pull = (parameter.detach() - sparse.start[name]).sign() * (self.l1 / size)
                parameter.grad += pull * sparse.masks[name] if sparse.masks else pull

    def after_step(self, optimizer: Any, step: int, total: int) -> None:
        """End the first phase when its time has come; in the second, put back what decay or momentum moved."""
        import torch

        (sparse,) = self._sparse
        if not sparse.masks:
            if step + 1 >= min(max(1, round(self.full * total)), total - 1):
                self._choose(sparse, optimizer)
            return
        with torch.no_grad():
            for name, parameter in sparse.parameters.items():
                parameter.copy_(torch.where(sparse.masks[name], parameter, sparse.start[name]))

    @property
    def presentable(self) -> bool:
        """Whether the weights are sparse by now: not in the first phase, which trains them all."""
        return bool(self._sparse and self._sparse[0].masks)

    def merge(self, network: torch.nn.Module) -> None:
        """It is a plain network; what trains it next is free to move all. A copy's merge leaves this training alone."""
        (sparse,) = self._sparse
        network.requires_grad_(True)
        own = {id(parameter) for parameter in network.parameters()}
        if any(id(parameter) in own for parameter in sparse.parameters.values()):
            for hook in sparse.hooks:
                hook.remove()

    def save(self, network: torch.nn.Module, folder: Path) -> None:
        """Write `difference/`: what moved, and the head. The checkpoint itself is whole without it."""
        from rerankbench.models.adapters.difference import Difference, base_parameters, save_difference

        (sparse,) = self._sparse
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in base_parameters(network):
            if name in sparse.start:
                change = (parameter.detach() - sparse.start[name].to(parameter)).reshape(-1)
                index = (change.abs() >= 1e-7).nonzero()[:, 0]
                if len(index):
                    tensors |= {f"index/{name}": index, f"value/{name}": change[index]}
        difference = Difference("sparse", sparse.base, tensors, head_tensors(network))
        save_difference(folder / "difference", difference)

    def state(self) -> dict[str, Any]:
        """The masks, as flat places, and the base's fingerprint: the start is what `apply` finds again."""
        (sparse,) = self._sparse
        return {"base": sparse.base, "masks": {n: m.reshape(-1).nonzero()[:, 0].cpu() for n, m in sparse.masks.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state` back. Raises ConfigError if `apply` saw another network than it did then."""
        import torch

        (sparse,) = self._sparse
        if state["base"] != sparse.base:
            raise ConfigError("adaptation", "the network to start from is not the one that this training started from")
        sparse.masks.clear()
        for name, places in state["masks"].items():
            mask = torch.zeros(sparse.start[name].numel(), dtype=torch.bool)
            mask[places] = True
            sparse.masks[name] = mask.view_as(sparse.start[name]).to(sparse.start[name].device)
        if sparse.masks:
            self._guard(sparse)

    def report(self) -> dict[str, float]:
        """The phase, 1 or 2, and how many places may move."""
        (sparse,) = self._sparse
        chosen = sum(int(mask.sum()) for mask in sparse.masks.values())
        free = chosen if sparse.masks else sum(p.numel() for p in sparse.parameters.values())
        return {"mask/phase": 2.0 if sparse.masks else 1.0, "mask/weights": float(free)}

    def _choose(self, sparse: Sparse, optimizer: Any) -> None:
        """Keep the places that moved most, over all weights together; rewind; begin with a fresh optimiser state."""
        import torch

        with torch.no_grad():
            moved = {n: (p - sparse.start[n]).abs().reshape(-1) for n, p in sparse.parameters.items()}
            size = sum(len(values) for values in moved.values())
            count = min(size, int(self.weights * size) if self.weights < 1 else int(self.weights))
            chosen = top_places(torch.cat(list(moved.values())), count)
            first = 0
            for name, values in moved.items():
                inside = chosen[(chosen >= first) & (chosen < first + len(values))] - first
                mask = torch.zeros_like(values, dtype=torch.bool)
                mask[inside] = True
                sparse.masks[name] = mask.view_as(sparse.start[name])
                first += len(values)
                sparse.parameters[name].copy_(sparse.start[name])
        optimizer.state.clear()
        self._guard(sparse)

    def _guard(self, sparse: Sparse) -> None:
        """Mask gradients as they arise, so that clipping and moments see only what is trained."""
        for name, parameter in sparse.parameters.items():
            mask = sparse.masks[name]
            sparse.hooks.append(parameter.register_hook(mask.mul))  # type: ignore[no-untyped-call]


def top_places(values: torch.Tensor, count: int) -> torch.Tensor:
    """The places of the `count` largest values of a vector, int64, ascending; among equals the first ones."""
    import torch

    if count == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    threshold = values.topk(count).values[-1]
    above = (values > threshold).nonzero()[:, 0]
    equal = (values == threshold).nonzero()[:, 0]
    return torch.cat([above, equal[: count - len(above)]]).sort().values
