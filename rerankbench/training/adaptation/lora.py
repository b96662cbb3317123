"""Low-rank adaptation by peft, in place: LoRA, rank-stabilised LoRA, DoRA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.training.adaptation.base import Inert
from rerankbench.training.adaptation.parts import heads, linear_layers

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LoRA(Inert):
    """Adds (alpha / rank)·B·A to linear layers and trains A, B and the scoring head (Hu et al., arXiv 2106.09685).

    rslora: scale by alpha / √rank (Kalajdzievski, arXiv 2312.03732). dora: magnitudes apart from directions (Liu et
    al., arXiv 2402.09353). targets: endings of names of linear layers; null is `query` and `value` where the network
    has them, else every linear layer of its blocks.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    rslora: bool = False
    dora: bool = False
    targets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError("rank", f"must be at least 1, got {self.rank}")
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout", f"must lie in [0, 1), got {self.dropout}")

    def peft_config(self, network: torch.nn.Module) -> Any:
        """The same adaptation as peft's LoraConfig, with this network's layers by name, for trainers that want one."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            target_modules=list(self._layers(network)),
        )

    def apply(self, network: torch.nn.Module, seed: int) -> None:
        """Put peft's layers in the place of the target layers; B is zero, so the outputs stay."""
        import torch
        from peft import inject_adapter_in_model

        devices = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
        with torch.random.fork_rng(devices=list(devices)):  # peft draws from the global generator
            torch.manual_seed(seed)
            inject_adapter_in_model(self.peft_config(network), network)
        network.train(network.training)  # new layers come in training mode, with dropout
        for head in heads(network):
            head.requires_grad_(True)

    def merge(self, network: torch.nn.Module) -> None:
        """Add the products to the weights and put the plain layers back."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, module in list(network.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                parent, _, own = name.rpartition(".")
                network.get_submodule(parent).register_module(own, module.get_base_layer())
        vars(network).pop("peft_config", None)
        network.requires_grad_(True)

    def _layers(self, network: torch.nn.Module) -> dict[str, torch.nn.Linear]:
        if self.targets is not None:
            return linear_layers(network, self.targets)
        every = linear_layers(network, None)
        encoder = {name: layer for name, layer in every.items() if name.endswith((".query", ".value"))}
        return encoder or every
