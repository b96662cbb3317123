"""Low-rank adaptation by peft, in place: LoRA, rank-stabilised LoRA, DoRA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Interval

from rerankbench.errors import key_of
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.parts import linear_layers, train_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LoRA(Adaptation):
    """Adds (alpha / rank)·B·A to linear layers and trains A, B and the scoring head (Hu et al., arXiv 2106.09685).

    rslora: scale by alpha / √rank (Kalajdzievski, arXiv 2312.03732). dora: magnitudes apart from directions (Liu et
    al., arXiv 2402.09353). targets: endings of names of linear layers; null is `query` and `value` where the network
    has them, else every linear layer of its blocks.
    """

    rank: Annotated[int, Ge(1)] = 16
    alpha: float = 32.0
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    rslora: bool = False
    dora: bool = False
    targets: Sequence[str] | None = None

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedAdaptation:
        """Replace the target layers by peft's; B is zero, so the outputs stay the same."""
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        layers = linear_layers(network, self.targets, key_of(self, "targets"))
        attention = [name for name in layers if name.endswith((".query", ".value"))]
        configuration = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            target_modules=attention if self.targets is None and attention else list(layers),
        )
        devices = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
        with torch.random.fork_rng(devices=list(devices)):  # peft draws from the global generator
            torch.manual_seed(seed)
            inject_adapter_in_model(configuration, network)
        network.train(network.training)  # new layers come in training mode, with dropout
        train_head(network)
        return AppliedLoRA(network)


class AppliedLoRA(AppliedAdaptation):
    """A network some of whose linear layers are peft's."""

    def merge(self) -> None:
        """Add the products to the weights and restore the plain layers."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, module in list(self.network.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                parent, _, child = name.rpartition(".")
                self.network.get_submodule(parent).register_module(child, module.get_base_layer())
        vars(self.network).pop("peft_config", None)
        super().merge()
