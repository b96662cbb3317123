"""Bottleneck adapters: small networks behind feed-forward sub-layers and embeddings, run by forward hooks.

An adapted module gets a list `adapters`, its steps in order. A step is one of three things: a bottleneck (Sequential:
h + up(relu(down(h)))), an invertible coupling of the two halves of an embedding (ModuleDict), or a split (ModuleList):
one step for the query's tokens, another for the document's. Names and classes of the network stay as they were, and a
copy of the network is a whole copy.
"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError

if TYPE_CHECKING:
    import torch

EMBEDDINGS = "embeddings"
"""The place of couplings, beside the names of feed-forward sub-layers."""

_FEED_FORWARD = re.compile(r"(^|\.)\d+\.(output|mlp|ffn)$")


def base_of(network: torch.nn.Module) -> torch.nn.Module:
    """The network without its head, the same for all tasks."""
    base: torch.nn.Module = getattr(network, "base_model", network)
    return base


def places(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules that can be adapted, by their names in the base: feed-forward sub-layers, and the embeddings.

    Raises ConfigError (key `adaptation`) for a network in which there are none of these names.
    """
    base = base_of(network)
    found = {name: module for name, module in base.named_modules() if _FEED_FORWARD.search(name)}
    if not found:
        raise ConfigError("adaptation", f"knows no feed-forward sub-layers in a {type(base).__name__}")
    return {EMBEDDINGS: getattr(base, "embeddings", None) or network.get_input_embeddings()} | found  # type: ignore[operator]


def width(network: torch.nn.Module) -> int:
    """The size of a hidden state."""
    config: Any = network.config
    return int(config.get_text_config().hidden_size)


def bottleneck(size: int, middle: int, generator: torch.Generator | None = None) -> torch.nn.Module:
    """A bottleneck of `middle` units for hidden states of this size; it changes nothing at first."""
    import torch

    # Not initialised, so that nothing is drawn from the global generator.
    empty: Any = torch.nn.utils.skip_init
    down, up = empty(torch.nn.Linear, size, middle), empty(torch.nn.Linear, middle, size)
    torch.nn.init.normal_(down.weight, std=0.02, generator=generator)
    for tensor in (down.bias, up.weight, up.bias):
        torch.nn.init.zeros_(tensor)
    return torch.nn.Sequential(OrderedDict(down=down, relu=torch.nn.ReLU(), up=up))


def coupling(size: int, middle: int, generator: torch.Generator | None = None) -> torch.nn.Module:
    """An additive coupling of two halves (NICE, Dinh et al., arXiv 1410.8516); it changes nothing at first."""
    import torch

    half = size // 2
    return torch.nn.ModuleDict({"f": bottleneck(half, middle, generator), "g": bottleneck(half, middle, generator)})


def push(network: torch.nn.Module, steps: Mapping[str, torch.nn.Module]) -> None:
    """Add a step to each of these places, after those that are there, on the network's device, in its number format."""
    import torch

    like = next(base_of(network).parameters())
    found = places(network)
    for name, step in steps.items():
        module = found[name]
        if "adapters" not in dict(module.named_children()):
            module.register_module("adapters", torch.nn.ModuleList())
            vars(module)["adapter_hook"] = module.register_forward_hook(_adapt)
        module.get_submodule("adapters").append(step.to(like))  # type: ignore[operator]
        if isinstance(step, torch.nn.ModuleList) and "split_hook" not in vars(network):
            vars(network)["split_hook"] = network.register_forward_pre_hook(_find_documents, with_kwargs=True)
    head = _language_head(network)
    if head is not None and EMBEDDINGS in steps and "adapter_hook" not in vars(head):
        hook = functools.partial(_invert, found[EMBEDDINGS])
        vars(head)["adapter_hook"] = head.register_forward_pre_hook(hook)
    _keep_off_disk(network)


def clear(network: torch.nn.Module) -> None:
    """Remove every step from every place."""
    for module in [*places(network).values(), _language_head(network), network]:
        if module is None:
            continue
        for hook in ("adapter_hook", "split_hook"):
            if hook in vars(module):
                vars(module).pop(hook).remove()
        if "adapters" in dict(module.named_children()):
            del module.adapters
        vars(module).pop("is_document", None)
    _keep_off_disk(network)


def _adapt(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    for step in module.adapters:
        output = _run(step, output, module)
    return output


def _run(step: Any, hidden: torch.Tensor, module: Any) -> torch.Tensor:
    import torch

    if isinstance(step, torch.nn.ModuleList):
        query, document = (_run(part, hidden, module) for part in step)
        return torch.where(module.is_document[..., None], document, query)
    if isinstance(step, torch.nn.ModuleDict):
        first, second = hidden.chunk(2, dim=-1)
        first = first + step["f"](second)
        second = second + step["g"](first)
        return torch.cat([first, second], dim=-1)
    changed: torch.Tensor = hidden + step(hidden)
    return changed


def _invert(embeddings: Any, head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Undo the couplings before a language model's head, which knows the embeddings as they were."""
    import torch

    hidden = inputs[0]
    for step in reversed(embeddings.adapters):
        first, second = hidden.chunk(2, dim=-1)
        second = second - step["g"](first)
        first = first - step["f"](second)
        hidden = torch.cat([first, second], dim=-1)
    return hidden, *inputs[1:]


def _find_documents(network: Any, inputs: Any, named: dict[str, Any]) -> None:
    """Tell every place which tokens are the document's: by segment, or by the first separator where there are none."""
    ids, segments = named["input_ids"], named.get("token_type_ids")
    if segments is not None and getattr(network.config, "type_vocab_size", 0) > 1:
        is_document = segments == 1
    else:
        separator = getattr(network.config, "sep_token_id", None)
        separator = network.config.eos_token_id if separator is None else separator
        if separator is None:
            raise ConfigError("model.adapters", "a split needs segment ids, or a separator between query and document")
        is_separator = (ids == separator).long()
        is_document = is_separator.cumsum(1) - is_separator > 0
    for module in places(network).values():
        vars(module)["is_document"] = is_document


def _language_head(network: torch.nn.Module) -> torch.nn.Module | None:
    """The child that turns hidden states into words, or None."""
    output = getattr(network, "get_output_embeddings", lambda: None)()
    if output is None:
        return None
    return next((child for child in network.children() if output in list(child.modules())), None)


def _keep_off_disk(network: torch.nn.Module) -> None:
    """A saved checkpoint is the plain network: adapters have files of their own."""
    if hasattr(network, "_keys_to_ignore_on_save"):
        kept = {key for key in network._keys_to_ignore_on_save or () if ".adapters." not in key}  # type: ignore[union-attr]
        vars(network)["_keys_to_ignore_on_save"] = kept | {key for key in network.state_dict() if ".adapters." in key}
