"""Which part of a network is what: its linear layers, its numbered blocks, its scoring head."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rerankbench.errors import ConfigError, nearest

if TYPE_CHECKING:
    import torch

_BLOCK = re.compile(r"(?:^|\.)(\d+)\.")


def block_of(name: str) -> int | None:
    """The number of the block that a parameter or module belongs to, from 0; None outside the blocks."""
    match = _BLOCK.search(name)
    return int(match[1]) if match else None


def linear_layers(network: torch.nn.Module, targets: Sequence[str] | None, key: str) -> dict[str, torch.nn.Linear]:
    """Linear layers by name: those that end in one of `targets`, or with None every one in the numbered blocks.

    Raises ConfigError, with `key`, for a target that names no linear layer.
    """
    import torch

    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and ".adapters." not in name
    }
    if targets is None:
        in_blocks = {name: module for name, module in layers.items() if block_of(name) is not None}
        if not in_blocks:
            raise ConfigError(key, "the network has no numbered blocks with linear layers: name some")
        return in_blocks
    for target in targets:
        if not any(_ends(name, target) for name in layers):
            endings = {name.rpartition(".")[2] for name in layers}
            raise ConfigError(key, f"no linear layer ends in {target!r}; {nearest(target, endings)}")
    return {name: module for name, module in layers.items() if any(_ends(name, target) for target in targets)}


def train_head(network: torch.nn.Module) -> None:
    """Train the scoring head of a sequence classifier: it is new, whatever else is trained."""
    for module in _head_modules(network):
        module.requires_grad_(True)


def head_tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The scoring head's parameters, detached, by their names in the network."""
    head = {id(parameter) for module in _head_modules(network) for parameter in module.parameters()}
    return {name: parameter.detach() for name, parameter in network.named_parameters() if id(parameter) in head}


def _head_modules(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    children = dict(network.named_children())
    if {"classifier", "score"} & children.keys():
        yield from (children[name] for name in ("pooler", "pre_classifier", "classifier", "score") if name in children)


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
