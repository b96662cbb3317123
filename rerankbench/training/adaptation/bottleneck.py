"""Train bottleneck adapters on a frozen network: for a task, or for a language."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.errors import ConfigError
from rerankbench.training.adaptation.base import Inert
from rerankbench.training.adaptation.parts import head_tensors, heads

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Inert):
    """h + up(relu(down(h))) after each feed-forward sub-layer (Pfeiffer et al., arXiv 2005.00247); and the head.

    reduction: size of a hidden state by that of the bottleneck. invertible: couples the halves of the embeddings, too,
    as language adapters do (Pfeiffer et al., arXiv 2005.00052). below: folders of adapters to stack on, frozen.
    """

    reduction: int = 16
    invertible: bool = False
    below: Sequence[str] = ()
    _base: list[str] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ConfigError("reduction", f"must be at least 1, got {self.reduction}")

    def apply(self, network: torch.nn.Module, seed: int) -> None:
        """Apply the adapters below, add new ones that change nothing, and train these and the scoring head only."""
        import torch

        from rerankbench.models.adapters.bottleneck import EMBEDDINGS, bottleneck, coupling, places, push, width
        from rerankbench.models.adapters.difference import applied, base_fingerprint

        self._base[:] = [applied(network, self.below).base if self.below else base_fingerprint(network)]
        network.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        size = width(network)
        middle = max(1, size // self.reduction)
        steps = {name: bottleneck(size, middle, generator) for name in places(network) if name != EMBEDDINGS}
        if self.invertible:
            if size % 2:
                raise ConfigError("adaptation.invertible", f"needs hidden states of an even size, not {size}")
            steps[EMBEDDINGS] = coupling(size, max(1, size // 4), generator)
        push(network, steps)
        for head in heads(network):
            head.requires_grad_(True)

    def merge(self, network: torch.nn.Module) -> None:
        """Nothing can be merged: the adapters stay, and `save` writes them beside the plain checkpoint."""
        network.requires_grad_(True)

    def save(self, network: torch.nn.Module, folder: Path) -> None:
        """Write `adapters/`: copies of those below, numbered, and the trained one as `trained`."""
        from rerankbench.models.adapters.bottleneck import places
        from rerankbench.models.adapters.difference import Difference, save_difference

        for i, path in enumerate(self.below):
            shutil.copytree(Path(path).expanduser(), folder / "adapters" / f"{i:02d}", dirs_exist_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        for place, module in places(network).items():
            steps = dict(module.named_children()).get("adapters")
            trained = list(steps.children())[-1] if steps is not None else None
            if trained is not None and (place != "embeddings" or self.invertible):
                tensors |= {f"{place}/{name}": tensor for name, tensor in trained.state_dict().items()}
        head = head_tensors(network)
        save_difference(folder / "adapters" / "trained", Difference("bottleneck", self._base[0], tensors, head))
