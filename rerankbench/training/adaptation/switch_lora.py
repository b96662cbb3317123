"""SwitchLoRA: low-rank factors whose vectors are exchanged, a few each step, with vectors kept in store."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.adaptation import low_rank
from rerankbench.training.adaptation.base import Inert
from rerankbench.training.adaptation.parts import heads, linear_layers

if TYPE_CHECKING:
    import torch


@dataclass
class Side:
    """One factor of a layer: r live vectors (rows of A, columns of B) and the c candidates they come from.

    candidates: [c, d], on the CPU. slots: the candidate that each live vector is. pointer: the live vector to switch
    next; upcoming: the candidate to come in next. frozen: [r], steps that each live vector still has to rest.
    """

    parameter: torch.nn.Parameter
    dim: int
    candidates: torch.Tensor
    slots: list[int]
    pointer: int
    upcoming: int
    frozen: torch.Tensor

    @property
    def vectors(self) -> torch.Tensor:
        """A view of the live vectors, [r, d], that can be written to."""
        return self.parameter.data if self.dim == 0 else self.parameter.data.T

    def state(self) -> dict[str, Any]:
        """What resuming needs, the live vectors excepted."""
        return {
            "candidates": self.candidates.clone(),
            "slots": list(self.slots),
            "pointer": self.pointer,
            "upcoming": self.upcoming,
            "frozen": self.frozen.clone(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self.candidates.copy_(state["candidates"])
        self.frozen.copy_(state["frozen"])
        self.slots[:] = state["slots"]
        self.pointer, self.upcoming = state["pointer"], state["upcoming"]


@dataclass
class Switched:
    """A layer and its two factors."""

    name: str
    layer: torch.nn.Linear
    a: Side
    b: Side


@dataclass(frozen=True, kw_only=True)
class SwitchLoRA(Inert):
    """Each step switches vectors of A and B, the weight making up for it (Zhou et al., arXiv 2406.06564).

    rank / interval vectors of a factor are switched in the first step, and fewer and fewer, to 30 % of it after a share
    `ratio` of training, and so on. When a vector is switched, its counterpart in the other factor loses its optimiser
    state and rests for `freeze` steps. alpha: the product counts alpha / rank. order: `cyclic` takes vectors and
    candidates in turn, `random` draws them. targets: endings of names of linear layers; null is every linear layer of
    the blocks.
    """

    rank: int = 16
    alpha: float = 1.0
    interval: float = 40.0
    ratio: float = 0.1
    freeze: int = 5
    order: Literal["cyclic", "random"] = "cyclic"
    targets: Sequence[str] | None = None
    _layers: list[Switched] = field(init=False, default_factory=list, repr=False, compare=False)
    _counts: dict[str, int] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rank < 2:
            raise ConfigError("rank", f"must be at least 2, got {self.rank}")
        if self.freeze < 1:
            raise ConfigError("freeze", f"must be at least 1, got {self.freeze}")
        if self.interval < 2 * self.freeze:
            raise ConfigError("interval", f"must be at least twice freeze={self.freeze}, got {self.interval}")
        if not 0 < self.ratio <= 1:
            raise ConfigError("ratio", f"must lie in (0, 1], got {self.ratio}")

    def apply(self, network: torch.nn.Module, seed: int) -> None:
        """Add factors, neither of them zero, and take their product from the weights: the outputs stay to 1e-5.

        Raises ConfigError for a rank that leaves a layer no candidate to switch with.
        """
        import torch

        layers = linear_layers(network, self.targets)
        network.requires_grad_(False)
        self._layers.clear()
        self._counts.update(seed=seed, vectors=0)
        generator = torch.Generator().manual_seed(seed)
        for name, layer in layers.items():
            m, n = layer.weight.shape
            stored = min(m, n)
            if self.rank >= stored:
                raise ConfigError("adaptation.rank", f"must be below {stored}, the smaller side of {name}")
            gain = math.sqrt(1 / 3)
            spread_a = (math.sqrt(m) * self.rank / n**1.5) ** 0.25 * math.sqrt(gain)
            spread_b = (self.rank / math.sqrt(m * n)) ** 0.25 * math.sqrt(gain)
            candidates_a = math.sqrt(3) * spread_a * (2 * torch.rand(stored, n, generator=generator) - 1)
            candidates_b = math.sqrt(3) * spread_b * (2 * torch.rand(stored, m, generator=generator) - 1)
            a, b = candidates_a[: self.rank], candidates_b[: self.rank].T.contiguous()
            low_rank.attach(layer, a.clone(), b, self.alpha / self.rank)
            with torch.no_grad():
                layer.weight -= low_rank.product(layer)
            # The pointers are half a round apart, so that a vector and its counterpart are never switched together.
            self._layers.append(
                Switched(
                    name,
                    layer,
                    self._side(layer.get_parameter("lora_A"), 0, candidates_a, 0),
                    self._side(layer.get_parameter("lora_B"), 1, candidates_b, self.rank // 2),
                )
            )
        for head in heads(network):
            head.requires_grad_(True)

    def optimizer(self, network: torch.nn.Module, learning_rate: float, weight_decay: float) -> Any:
        """AdamW with a step count for each vector; decay on what is trained besides the factors only."""
        from rerankbench.training.adaptation.row_adamw import RowAdamW

        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in trained if name.endswith(".lora_A")], "dim": 0},
            {"params": [p for name, p in trained if name.endswith(".lora_B")], "dim": 1},
        ]
        if others := [p for name, p in trained if ".lora_" not in name]:
            groups.append({"params": others, "weight_decay": weight_decay})
        return RowAdamW(groups, learning_rate)

    def expected(self, step: int, total: int) -> float:
        """How many vectors of one factor are switched in this step (from 0) of `total`, on average."""
        theta = float(0.3 ** ((step + 1) / max(self.ratio * total, 1.0)))
        return self.rank * theta / self.interval

    def before_step(self, optimizer: Any, step: int, total: int) -> None:
        """Switch, zero the counterparts' optimiser states, and zero the gradients of what rests."""
        for layer in self._layers:
            for side, other in ((layer.a, layer.b), (layer.b, layer.a)):
                # A generator of its own for each draw: nothing to save for resuming, and all ranks agree.
                draw = random.Random(f"{self._counts['seed']} {layer.name} {side.dim} {step}")
                expected = self.expected(step, total)
                count = int(expected) + (draw.random() < expected % 1)
                if chosen := self._choose(side, other, count, draw):
                    self._switch(layer.layer, side, other, chosen)
                    _forget(optimizer, other, [index for index, _ in chosen])
                    other.frozen[[index for index, _ in chosen]] = self.freeze
                    self._counts["vectors"] += len(chosen)
        for side in self._sides():
            if side.parameter.grad is not None:
                side.parameter.grad.index_fill_(side.dim, _resting(side), 0.0)

    def after_step(self, optimizer: Any, step: int, total: int) -> None:
        """Bring every rest one step nearer to its end."""
        for side in self._sides():
            if state := optimizer.state.get(side.parameter):
                state["step"].index_fill_(side.dim, _resting(side), 0.0)  # a step without movement does not count
            side.frozen.sub_(1).clamp_(min=0)

    def merge(self, network: torch.nn.Module) -> None:
        """Add the products to the weights; candidates are left behind."""
        low_rank.fold(network)
        network.requires_grad_(True)

    def state(self) -> dict[str, Any]:
        """Candidates, which of them are live, pointers, rests; the weights themselves are in the network's state."""
        layers = {layer.name: {"a": layer.a.state(), "b": layer.b.state()} for layer in self._layers}
        return {"counts": dict(self._counts), "layers": layers}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state` back, after `apply` on a network with the same layers."""
        self._counts.update(state["counts"])
        for layer in self._layers:
            layer.a.load_state(state["layers"][layer.name]["a"])
            layer.b.load_state(state["layers"][layer.name]["b"])

    def report(self) -> dict[str, float]:
        """Vectors switched so far, vectors at rest, and the memory that candidates take, in MiB."""
        sides = list(self._sides())
        return {
            "switch/vectors": float(self._counts.get("vectors", 0)),
            "switch/resting": float(sum(int(side.frozen.count_nonzero()) for side in sides)),
            "switch/candidates_mib": sum(side.candidates.nbytes for side in sides) / 2**20,
        }

    def _side(self, parameter: torch.nn.Parameter, dim: int, candidates: torch.Tensor, pointer: int) -> Side:
        import torch

        rests = torch.zeros(self.rank, dtype=torch.int64)
        return Side(parameter, dim, candidates, list(range(self.rank)), pointer, self.rank, rests)

    def _sides(self) -> Iterator[Side]:
        for layer in self._layers:
            yield layer.a
            yield layer.b

    def _choose(self, side: Side, other: Side, count: int, draw: random.Random) -> list[tuple[int, int]]:
        """Pairs (live vector, candidate to take its place): `count` of them, or fewer where others still rest."""
        free = [not (mine or theirs) for mine, theirs in zip(side.frozen.tolist(), other.frozen.tolist(), strict=True)]
        stored = len(side.candidates)
        live = set(side.slots)
        count = min(count, stored - self.rank)
        if self.order == "random":
            indices = draw.sample([index for index in range(self.rank) if free[index]], min(count, sum(free)))
            slots = draw.sample([slot for slot in range(stored) if slot not in live], len(indices))
            return list(zip(indices, slots, strict=True))
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count and free[side.pointer]:
            while side.upcoming in live:
                side.upcoming = (side.upcoming + 1) % stored
            chosen.append((side.pointer, side.upcoming))
            free[side.pointer] = False
            live.add(side.upcoming)
            side.pointer = (side.pointer + 1) % self.rank
            side.upcoming = (side.upcoming + 1) % stored
        return chosen

    def _switch(self, layer: torch.nn.Linear, side: Side, other: Side, chosen: list[tuple[int, int]]) -> None:
        """Exchange vectors, and add to the weight what the product loses by it."""
        import torch

        indices, slots = [index for index, _ in chosen], [slot for _, slot in chosen]
        outgoing = side.vectors[indices]
        incoming = side.candidates[slots].to(outgoing)
        side.candidates[[side.slots[index] for index in indices]] = outgoing.to(side.candidates)
        side.vectors[indices] = incoming
        for index, slot in chosen:
            side.slots[index] = slot
        lost, counterparts = outgoing - incoming, other.vectors[indices]
        b, a = (counterparts, lost) if side.dim == 0 else (lost, counterparts)
        with torch.no_grad():
            layer.weight += self.alpha / self.rank * (b.T @ a)


def _resting(side: Side) -> torch.Tensor:
    return side.frozen.nonzero()[:, 0].to(side.parameter.device)


def _forget(optimizer: Any, side: Side, indices: list[int]) -> None:
    """Zero moments and step counts of some vectors; before the first step there are none."""
    import torch

    where = torch.tensor(indices, device=side.parameter.device)
    for value in optimizer.state.get(side.parameter, {}).values():
        value.index_fill_(side.dim, where, 0.0)
