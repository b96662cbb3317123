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
    found = _BLOCK.search(name)
    return int(found[1]) if found else None


def linear_layers(network: torch.nn.Module, targets: Sequence[str] | None) -> dict[str, torch.nn.Linear]:
    """Linear layers by name: those that end in one of `targets`, or with None every one in the numbered blocks.

    Raises ConfigError (key `adaptation.targets`) for a target that names no linear layer.
    """
    import torch

    every = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and ".adapters." not in name
    }
    if targets is None:
        found = {name: module for name, module in every.items() if block_of(name) is not None}
        if not found:
            raise ConfigError("adaptation.targets", "the network has no numbered blocks with linear layers: name some")
        return found
    for target in targets:
        if not any(_ends(name, target) for name in every):
            known = {name.rpartition(".")[2] for name in every}
            raise ConfigError("adaptation.targets", f"no linear layer ends in {target!r}; {nearest(target, known)}")
    return {name: module for name, module in every.items() if any(_ends(name, target) for target in targets)}


def heads(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The scoring head of a sequence classifier, which is new and must be trained whatever else is; else none."""
    children = dict(network.named_children())
    if {"classifier", "score"} & children.keys():
        yield from (children[name] for name in ("pooler", "pre_classifier", "classifier", "score") if name in children)


def head_tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The scoring head's parameters, detached, by their names in the network."""
    owned = {id(parameter) for head in heads(network) for parameter in head.parameters()}
    return {name: parameter.detach() for name, parameter in network.named_parameters() if id(parameter) in owned}


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
