"""Bottleneck adapters: small networks after feed-forward sub-layers and embeddings, run by forward hooks.

An adapted module gets a list `adapters`, run in order. An adapter is one of three things: a bottleneck (Sequential:
h + up(relu(down(h)))), an invertible coupling of the two halves of an embedding (ModuleDict), or a split (ModuleList):
one adapter for the query's tokens, another for the document's. Names and classes of the network stay the same, and a
deep copy of the network includes its adapters.
"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rerankbench.errors import UserError

if TYPE_CHECKING:
    import torch

EMBEDDINGS = "embeddings"
"""The name under which couplings stand, next to the names of feed-forward sub-layers."""

_FEED_FORWARD = re.compile(r"(^|\.)\d+\.(output|mlp|ffn)$")


def base_of(network: torch.nn.Module) -> torch.nn.Module:
    """The network without its head, the same for all tasks."""
    base: torch.nn.Module = getattr(network, "base_model", network)
    return base


def feed_forward_modules(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The feed-forward sub-layers by their names in the base; empty for a kind of network that is not known."""
    return {name: module for name, module in base_of(network).named_modules() if _FEED_FORWARD.search(name)}


def adaptable_modules(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules that can have adapters: the embeddings, and the feed-forward sub-layers."""
    embeddings = getattr(base_of(network), "embeddings", None) or network.get_input_embeddings()  # type: ignore[operator]
    return {EMBEDDINGS: embeddings} | feed_forward_modules(network)


def hidden_size(network: torch.nn.Module) -> int:
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


def add_adapters(network: torch.nn.Module, adapters: Mapping[str, torch.nn.Module]) -> None:
    """Add one adapter to each module named, after those it has, on the network's device and with its dtype."""
    import torch

    like = next(base_of(network).parameters())
    modules = adaptable_modules(network)
    for name, adapter in adapters.items():
        module = modules[name]
        if "adapters" not in dict(module.named_children()):
            module.register_module("adapters", torch.nn.ModuleList())
            vars(module)["adapter_hook"] = module.register_forward_hook(_adapt)
        module.get_submodule("adapters").append(adapter.to(like))  # type: ignore[operator]
        if isinstance(adapter, torch.nn.ModuleList) and "split_hook" not in vars(network):
            vars(network)["split_hook"] = network.register_forward_pre_hook(_find_documents, with_kwargs=True)
    head = _language_model_head(network)
    if head is not None and EMBEDDINGS in adapters and "adapter_hook" not in vars(head):
        hook = functools.partial(_invert, modules[EMBEDDINGS])
        vars(head)["adapter_hook"] = head.register_forward_pre_hook(hook)
    _leave_out_of_checkpoints(network)


def remove_adapters(network: torch.nn.Module) -> None:
    """Remove every adapter from every module."""
    for module in [*adaptable_modules(network).values(), _language_model_head(network), network]:
        if module is None:
            continue
        for hook in ("adapter_hook", "split_hook"):
            if hook in vars(module):
                vars(module).pop(hook).remove()
        if "adapters" in dict(module.named_children()):
            del module.adapters
        vars(module).pop("is_document", None)
    _leave_out_of_checkpoints(network)


def _adapt(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    for adapter in module.adapters:
        output = _run(adapter, output, module)
    return output


def _run(adapter: Any, hidden: torch.Tensor, module: Any) -> torch.Tensor:
    import torch

    if isinstance(adapter, torch.nn.ModuleList):
        query, document = (_run(part, hidden, module) for part in adapter)
        return torch.where(module.is_document[..., None], document, query)
    if isinstance(adapter, torch.nn.ModuleDict):
        first, second = hidden.chunk(2, dim=-1)
        first = first + adapter["f"](second)
        second = second + adapter["g"](first)
        return torch.cat([first, second], dim=-1)
    adapted: torch.Tensor = hidden + adapter(hidden)
    return adapted


def _invert(embeddings: Any, head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Undo the couplings before a language model's head, which is tied to the embeddings without them."""
    import torch

    hidden = inputs[0]
    for adapter in reversed(embeddings.adapters):
        first, second = hidden.chunk(2, dim=-1)
        second = second - adapter["g"](first)
        first = first - adapter["f"](second)
        hidden = torch.cat([first, second], dim=-1)
    return hidden, *inputs[1:]


def _find_documents(network: Any, inputs: Any, named: dict[str, Any]) -> None:
    """Set on each module which tokens are the document's: by segment ids, or without them by the first separator."""
    ids, segments = named["input_ids"], named.get("token_type_ids")
    if segments is not None and getattr(network.config, "type_vocab_size", 0) > 1:
        is_document = segments == 1
    else:
        separator = getattr(network.config, "sep_token_id", None)
        separator = network.config.eos_token_id if separator is None else separator
        if separator is None:
            raise UserError("a pair of adapters needs segment ids, or a separator between query and document")
        is_separator = (ids == separator).long()
        is_document = is_separator.cumsum(1) - is_separator > 0
    for module in adaptable_modules(network).values():
        vars(module)["is_document"] = is_document


def _language_model_head(network: torch.nn.Module) -> torch.nn.Module | None:
    """The child that turns hidden states into logits over the vocabulary, or None."""
    output = getattr(network, "get_output_embeddings", lambda: None)()
    if output is None:
        return None
    return next((child for child in network.children() if output in list(child.modules())), None)


def _leave_out_of_checkpoints(network: torch.nn.Module) -> None:
    """A saved checkpoint is the plain network: adapters have files of their own."""
    if hasattr(network, "_keys_to_ignore_on_save"):
        ignored = {key for key in network._keys_to_ignore_on_save or () if ".adapters." not in key}  # type: ignore[union-attr]
        ignored |= {key for key in network.state_dict() if ".adapters." in key}
        vars(network)["_keys_to_ignore_on_save"] = ignored
