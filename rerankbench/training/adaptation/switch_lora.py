"""SwitchLoRA: low-rank factors some of whose vectors are exchanged in each step with stored candidates."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.adaptation import low_rank
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.parts import linear_layers, train_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class SwitchLoRA(Adaptation):
    """Each step switches vectors of A and B and corrects the weight for it (Zhou et al., arXiv 2406.06564).

    rank / interval vectors of a factor are switched in the first step, and fewer and fewer, to 30 % of it after a share
    `ratio` of training, and so on. When a vector is switched, its counterpart in the other factor loses its optimiser
    state and is frozen for `freeze` steps. alpha: the product counts alpha / rank. order: `cyclic` takes vectors and
    candidates in turn, `random` draws them. targets: endings of names of linear layers; null is every linear layer of
    the blocks.
    """

    rank: Annotated[int, Ge(2)] = 16
    alpha: float = 1.0
    interval: float = 40.0
    ratio: Annotated[float, Interval(gt=0, le=1)] = 0.1
    freeze: Annotated[int, Ge(1)] = 5
    order: Literal["cyclic", "random"] = "cyclic"
    targets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.interval < 2 * self.freeze:
            raise ConfigError("interval", f"must be at least twice freeze={self.freeze}, got {self.interval}")

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedSwitchLoRA:
        """Add factors, neither of them zero, and subtract their product from the weights: the outputs stay to 1e-5.

        Raises ConfigError for a rank that leaves a layer no candidate to switch with.
        """
        import torch

        layers = linear_layers(network, self.targets, key_of(self, "targets"))
        network.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        switched = []
        for name, layer in layers.items():
            m, n = layer.weight.shape
            stored = min(m, n)
            if self.rank >= stored:
                raise ConfigError(key_of(self, "rank"), f"must be below {stored}, the smaller side of {name}")
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
            factor_a = Factor.initial(layer.get_parameter("lora_A"), 0, candidates_a, 0)
            factor_b = Factor.initial(layer.get_parameter("lora_B"), 1, candidates_b, self.rank // 2)
            switched.append(SwitchedLayer(name, layer, factor_a, factor_b))
        train_head(network)
        return AppliedSwitchLoRA(network, self, seed, switched)

    def expected(self, step: int, total: int) -> float:
        """How many vectors of one factor are switched in this step (from 0) of `total`, on average."""
        theta = float(0.3 ** ((step + 1) / max(self.ratio * total, 1.0)))
        return self.rank * theta / self.interval


@dataclass
class Factor:
    """One factor of a layer: r live vectors (rows of A, columns of B) and the c candidates they come from.

    candidates: [c, d], on the CPU. slots: the candidate that each live vector is. pointer: the live vector to switch
    next; upcoming: the candidate to come in next. frozen: [r], for how many more steps each live vector is frozen.
    """

    parameter: torch.nn.Parameter
    dim: int
    candidates: torch.Tensor
    slots: list[int]
    pointer: int
    upcoming: int
    frozen: torch.Tensor

    @classmethod
    def initial(cls, parameter: torch.nn.Parameter, dim: int, candidates: torch.Tensor, pointer: int) -> Factor:
        """With the first candidates as live vectors, none of them frozen."""
        import torch

        rank = parameter.shape[dim]
        return cls(parameter, dim, candidates, list(range(rank)), pointer, rank, torch.zeros(rank, dtype=torch.int64))

    @property
    def vectors(self) -> torch.Tensor:
        """A view of the live vectors, [r, d], that can be written to."""
        return self.parameter.data if self.dim == 0 else self.parameter.data.T

    @property
    def frozen_indices(self) -> torch.Tensor:
        """The live vectors that are frozen, on the parameter's device."""
        return self.frozen.nonzero()[:, 0].to(self.parameter.device)

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
        """Restore `state`."""
        self.candidates.copy_(state["candidates"])
        self.frozen.copy_(state["frozen"])
        self.slots[:] = state["slots"]
        self.pointer, self.upcoming = state["pointer"], state["upcoming"]


@dataclass
class SwitchedLayer:
    """A layer and its two factors."""

    name: str
    layer: torch.nn.Linear
    a: Factor
    b: Factor


@dataclass
class AppliedSwitchLoRA(AppliedAdaptation):
    """A network with switched factors. switches: how many vectors have been switched so far."""

    configuration: SwitchLoRA
    seed: int
    layers: list[SwitchedLayer]
    switches: int = 0

    def optimizer(self, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """AdamW with a step count for each vector; decay on what is trained besides the factors only."""
        from rerankbench.training.adaptation.row_adamw import RowAdamW

        trained = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in trained if name.endswith(".lora_A")], "dim": 0},
            {"params": [p for name, p in trained if name.endswith(".lora_B")], "dim": 1},
        ]
        if others := [p for name, p in trained if ".lora_" not in name]:
            groups.append({"params": others, "weight_decay": weight_decay})
        return RowAdamW(groups, learning_rate)

    def before_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """Switch, zero the counterparts' optimiser states, and zero the gradients of what is frozen."""
        expected = self.configuration.expected(step, total)
        for layer in self.layers:
            for factor, other in ((layer.a, layer.b), (layer.b, layer.a)):
                # A generator of its own for each draw: nothing to save for resuming, and all processes agree.
                rng = random.Random(f"{self.seed} {layer.name} {factor.dim} {step}")
                count = int(expected) + (rng.random() < expected % 1)
                if chosen := self._choose(factor, other, count, rng):
                    self._switch(layer.layer, factor, other, chosen)
                    indices = [index for index, _ in chosen]
                    _reset_optimizer_state(optimizer, other, indices)
                    other.frozen[indices] = self.configuration.freeze
                    self.switches += len(chosen)
        for factor in self._factors():
            if factor.parameter.grad is not None:
                factor.parameter.grad.index_fill_(factor.dim, factor.frozen_indices, 0.0)

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """Count down the steps for which vectors are frozen."""
        for factor in self._factors():
            if state := optimizer.state.get(factor.parameter):
                state["step"].index_fill_(factor.dim, factor.frozen_indices, 0.0)  # a frozen step does not count
            factor.frozen.sub_(1).clamp_(min=0)

    def merge(self) -> None:
        """Add the products to the weights; candidates are left behind."""
        low_rank.fold(self.network)
        super().merge()

    def state(self) -> dict[str, Any]:
        """Candidates, which of them are live, pointers, frozen steps; the weights are in the network's state."""
        layers = {layer.name: {"a": layer.a.state(), "b": layer.b.state()} for layer in self.layers}
        return {"switches": self.switches, "layers": layers}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state`, after `apply` on a network with the same layers."""
        self.switches = state["switches"]
        for layer in self.layers:
            layer.a.load_state(state["layers"][layer.name]["a"])
            layer.b.load_state(state["layers"][layer.name]["b"])

    def report(self) -> dict[str, float]:
        """Vectors switched so far, vectors that are frozen, and the memory that candidates take, in MiB."""
        factors = list(self._factors())
        return {
            "switch/vectors": float(self.switches),
            "switch/resting": float(sum(int(factor.frozen.count_nonzero()) for factor in factors)),
            "switch/candidates_mib": sum(factor.candidates.nbytes for factor in factors) / 2**20,
        }

    def _factors(self) -> Iterator[Factor]:
        for layer in self.layers:
            yield layer.a
            yield layer.b

    def _choose(self, factor: Factor, other: Factor, count: int, rng: random.Random) -> list[tuple[int, int]]:
        """Pairs (live vector, candidate to replace it): `count` of them, or fewer where others are still frozen."""
        free = [not (a or b) for a, b in zip(factor.frozen.tolist(), other.frozen.tolist(), strict=True)]
        stored, live = len(factor.candidates), set(factor.slots)
        count = min(count, stored - len(free))
        if self.configuration.order == "random":
            indices = rng.sample([index for index in range(len(free)) if free[index]], min(count, sum(free)))
            slots = rng.sample([slot for slot in range(stored) if slot not in live], len(indices))
            return list(zip(indices, slots, strict=True))
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count and free[factor.pointer]:
            while factor.upcoming in live:
                factor.upcoming = (factor.upcoming + 1) % stored
            chosen.append((factor.pointer, factor.upcoming))
            free[factor.pointer] = False
            live.add(factor.upcoming)
            factor.pointer = (factor.pointer + 1) % len(free)
            factor.upcoming = (factor.upcoming + 1) % stored
        return chosen

    def _switch(self, layer: torch.nn.Linear, factor: Factor, other: Factor, chosen: list[tuple[int, int]]) -> None:
        """Exchange vectors, and add to the weight what the product loses by it."""
        import torch

        indices, slots = [index for index, _ in chosen], [slot for _, slot in chosen]
        outgoing = factor.vectors[indices]
        incoming = factor.candidates[slots].to(outgoing)
        factor.candidates[[factor.slots[index] for index in indices]] = outgoing.to(factor.candidates)
        factor.vectors[indices] = incoming
        for index, slot in chosen:
            factor.slots[index] = slot
        lost, counterparts = outgoing - incoming, other.vectors[indices]
        b, a = (counterparts, lost) if factor.dim == 0 else (lost, counterparts)
        with torch.no_grad():
            layer.weight += vars(layer)["lora_scale"] * (b.T @ a)


def _reset_optimizer_state(optimizer: torch.optim.Optimizer, factor: Factor, indices: list[int]) -> None:
    """Zero moments and step counts of some vectors; before the first step there are none."""
    import torch

    positions = torch.tensor(indices, device=factor.parameter.device)
    for value in optimizer.state.get(factor.parameter, {}).values():
        value.index_fill_(factor.dim, positions, 0.0)
