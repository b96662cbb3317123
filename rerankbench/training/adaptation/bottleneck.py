"""Train bottleneck adapters on a frozen network: for a task, or for a language."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.parts import head_tensors, train_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Adaptation):
    """h + up(relu(down(h))) after each feed-forward sub-layer (Pfeiffer et al., arXiv 2005.00247); and the head.

    reduction: size of a hidden state by that of the bottleneck. invertible: couples the halves of the embeddings, too,
    as language adapters do (Pfeiffer et al., arXiv 2005.00052). base_adapters: folders of adapters to stack on, frozen.
    """

    merges = False

    reduction: Annotated[int, Ge(1)] = 16
    invertible: bool = False
    base_adapters: Sequence[str] = ()

    def apply(self, network: torch.nn.Module, seed: int) -> AppliedBottleneck:
        """Apply the base adapters, add new ones that change nothing, and train these and the scoring head only."""
        import torch

        from rerankbench.models.adapters import bottleneck
        from rerankbench.models.adapters.difference import apply_differences

        base = apply_differences(network, self.base_adapters, key_of(self, "base_adapters")).base
        network.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        size = bottleneck.hidden_size(network)
        middle = max(1, size // self.reduction)
        adapters = {
            name: bottleneck.bottleneck(size, middle, generator) for name in bottleneck.feed_forward_modules(network)
        }
        if not adapters:
            raise ConfigError(key_of(self, ""), f"knows no feed-forward sub-layers in a {type(network).__name__}")
        if self.invertible:
            if size % 2:
                raise ConfigError(key_of(self, "invertible"), f"needs hidden states of an even size, not {size}")
            adapters[bottleneck.EMBEDDINGS] = bottleneck.coupling(size, max(1, size // 4), generator)
        bottleneck.add_adapters(network, adapters)
        train_head(network)
        return AppliedBottleneck(network, self.base_adapters, base, adapters)


@dataclass
class AppliedBottleneck(AppliedAdaptation):
    """A network with adapters in training. base: fingerprint of the network before. adapters: by adapted module.

    Merging leaves the adapters where they are: they are saved next to the plain checkpoint.
    """

    base_adapters: Sequence[str]
    base: str
    adapters: dict[str, torch.nn.Module]

    def save(self, folder: Path) -> None:
        """Write `adapters/`: copies of the base adapters, numbered, and the trained one as `trained`."""
        from rerankbench.models.adapters.difference import Difference, save_difference

        for i, path in enumerate(self.base_adapters):
            shutil.copytree(Path(path).expanduser(), folder / "adapters" / f"{i:02d}", dirs_exist_ok=True)
        tensors = {
            f"{module}/{name}": tensor
            for module, adapter in self.adapters.items()
            for name, tensor in adapter.state_dict().items()
        }
        head = head_tensors(self.network)
        save_difference(folder / "adapters" / "trained", Difference("bottleneck", self.base, tensors, head))
