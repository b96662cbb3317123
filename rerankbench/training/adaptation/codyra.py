"""Dynamic rank-selective LoRA: a gate for each rank, driven to exact zeros by a proximal step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.adaptation import low_rank
from rerankbench.training.adaptation.base import Inert
from rerankbench.training.adaptation.parts import heads, linear_layers

if TYPE_CHECKING:
    import torch

_STAGES = 50


@dataclass(frozen=True, kw_only=True)
class CoDyRA(Inert):
    """ΔW = B·diag(g)·A with gates g shrunk after each step by a threshold κ (Lu et al., arXiv 2412.01004).

    κ is 0 for the first half of training, then rises in 50 equal stages to `threshold`. variant: `proximal` is the
    operator of the paper, sign(g)·max(|g| − κ, 0); `released` is that of the authors' code, which also zeroes what is
    left with less than κ. beta2: of the AdamW that trains gates and factors, without decay. targets: endings of names
    of linear layers; null is every linear layer of the blocks.
    """

    rank: int = 16
    threshold: float = 0.005
    variant: Literal["proximal", "released"] = "proximal"
    beta2: float = 0.9999
    targets: Sequence[str] | None = None
    _gates: list[torch.nn.Parameter] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError("rank", f"must be at least 1, got {self.rank}")
        if self.threshold < 0:
            raise ConfigError("threshold", f"must be at least 0, got {self.threshold}")
        if not 0 <= self.beta2 < 1:
            raise ConfigError("beta2", f"must lie in [0, 1), got {self.beta2}")

    def apply(self, network: torch.nn.Module, seed: int) -> None:
        """Add factors: A uniform within ±1/√n, B zero, g normal. The outputs stay."""
        import torch

        layers = linear_layers(network, self.targets)
        network.requires_grad_(False)
        self._gates.clear()
        generator = torch.Generator().manual_seed(seed)
        for layer in layers.values():
            m, n = layer.weight.shape
            a = (2 * torch.rand(self.rank, n, generator=generator) - 1) / math.sqrt(n)  # kaiming uniform with a = √5
            gates = torch.randn(self.rank, generator=generator)
            low_rank.attach(layer, a, torch.zeros(m, self.rank), 1.0, gates)
            self._gates.append(layer.get_parameter("lora_gates"))
        for head in heads(network):
            head.requires_grad_(True)

    def optimizer(self, network: torch.nn.Module, learning_rate: float, weight_decay: float) -> Any:
        """AdamW with betas (0.9, beta2); decay on what is trained besides factors and gates only."""
        import torch

        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        factors = [p for name, p in trained if ".lora_" in name]
        others = [p for name, p in trained if ".lora_" not in name]
        groups: list[dict[str, Any]] = [{"params": factors, "weight_decay": 0.0}]
        if others:
            groups.append({"params": others, "weight_decay": weight_decay})
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, self.beta2))

    def kappa(self, step: int, total: int) -> float:
        """The threshold after this step (from 0) of `total`."""
        stage = ((2 * (step + 1) - total) * _STAGES - 1) // total  # from 0 to 49 in the second half
        return self.threshold * max(stage, 0) / (_STAGES - 1)

    def after_step(self, optimizer: Any, step: int, total: int) -> None:
        """Shrink the gates. One at zero may come back: its gradient is not zero."""
        import torch

        kappa = self.kappa(step, total)
        if kappa == 0:
            return
        with torch.no_grad():
            for gates in self._gates:
                left = gates.abs() - kappa
                cut = kappa if self.variant == "released" else 0.0
                gates.copy_(torch.where(left > cut, gates.sign() * left, torch.zeros_like(gates)))

    def merge(self, network: torch.nn.Module) -> None:
        """Drop the ranks whose gate is zero and add the rest to the weights."""
        low_rank.fold(network)
        network.requires_grad_(True)

    def report(self) -> dict[str, float]:
        """Ranks whose gate is not zero: their share, the fewest and the most of a layer; the mean size of a gate."""
        active = [int(gates.count_nonzero()) for gates in self._gates]
        size = sum(float(gates.detach().abs().sum()) for gates in self._gates) / (self.rank * len(active))
        return {
            "gates/active": sum(active) / (self.rank * len(active)),
            "gates/fewest": float(min(active)),
            "gates/most": float(max(active)),
            "gates/mean_size": size,
        }
