"""Dynamic rank-selective LoRA: a gate for each rank, driven to exact zeros by a proximal step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval

from rerankbench.errors import key_of
from rerankbench.training.adaptation import low_rank
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.parts import linear_layers, train_head

if TYPE_CHECKING:
    import torch

_LEVELS = 50


@dataclass(frozen=True, kw_only=True)
class CoDyRA(Adaptation):
    """ΔW = B·diag(g)·A with gates g shrunk after each step by a threshold κ (Lu et al., arXiv 2412.01004).

    κ is 0 for the first half of training, then rises in 50 equal levels to `threshold`. variant: `proximal` is the
    operator of the paper, sign(g)·max(|g| − κ, 0); `released` is that of the authors' code, which also zeroes what is
    left with less than κ. beta2: of the AdamW that trains gates and factors, without decay. targets: endings of names
    of linear layers; null is every linear layer of the blocks.
    """

    rank: Annotated[int, Ge(1)] = 16
    threshold: Annotated[float, Ge(0)] = 0.005
    variant: Literal["proximal", "released"] = "proximal"
    beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.9999
    targets: Sequence[str] | None = None

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedCoDyRA:
        """Add factors: A uniform within ±1/√n, B zero, g normal. The outputs stay the same."""
        import torch

        layers = linear_layers(network, self.targets, key_of(self, "targets"))
        network.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for layer in layers.values():
            m, n = layer.weight.shape
            a = (2 * torch.rand(self.rank, n, generator=generator) - 1) / math.sqrt(n)  # kaiming uniform with a = √5
            gates = torch.randn(self.rank, generator=generator)
            low_rank.attach(layer, a, torch.zeros(m, self.rank), 1.0, gates)
        train_head(network)
        return AppliedCoDyRA(network, self, [layer.get_parameter("lora_gates") for layer in layers.values()])

    def kappa(self, step: int, total: int) -> float:
        """The threshold after this step (from 0) of `total`."""
        level = ((2 * (step + 1) - total) * _LEVELS - 1) // total  # from 0 to 49 in the second half
        return self.threshold * max(level, 0) / (_LEVELS - 1)


@dataclass
class AppliedCoDyRA(AppliedAdaptation):
    """A network with gated factors. gates: [rank] of each adapted layer."""

    configuration: CoDyRA
    gates: list[torch.nn.Parameter]

    def optimizer(self, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """AdamW with betas (0.9, beta2); decay on what is trained besides factors and gates only."""
        import torch

        trained = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [p for name, p in trained if ".lora_" in name], "weight_decay": 0.0}]
        if others := [p for name, p in trained if ".lora_" not in name]:
            groups.append({"params": others, "weight_decay": weight_decay})
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, self.configuration.beta2))

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
        """Shrink the gates. One at zero may come back: its gradient is not zero."""
        import torch

        kappa = self.configuration.kappa(step, total)
        if kappa == 0:
            return
        cut = kappa if self.configuration.variant == "released" else 0.0
        with torch.no_grad():
            for gates in self.gates:
                shrunk = gates.abs() - kappa
                gates.copy_(torch.where(shrunk > cut, gates.sign() * shrunk, torch.zeros_like(gates)))

    def merge(self) -> None:
        """Drop the ranks whose gate is zero and add the rest to the weights."""
        low_rank.fold(self.network)
        super().merge()

    def report(self) -> dict[str, float]:
        """Ranks whose gate is not zero: their share, the fewest and the most of a layer; the mean size of a gate."""
        active = [int(gates.count_nonzero()) for gates in self.gates]
        ranks = sum(gates.numel() for gates in self.gates)
        return {
            "gates/active": sum(active) / ranks,
            "gates/fewest": float(min(active)),
            "gates/most": float(max(active)),
            "gates/mean_size": sum(float(gates.detach().abs().sum()) for gates in self.gates) / ranks,
        }
