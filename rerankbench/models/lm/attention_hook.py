"""One attention function, registered with transformers, that a hook may observe or replace in every layer.

Queries and keys reach it after rotary embeddings, norms and the cache, so hooks do not depend on the model's family.
The hook is a context variable: networks in several threads each have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Hook = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, float | None], torch.Tensor | None]
    """query [B, heads, Q, size], key and value [B, key heads, K, size], mask, scaling -> attention's output
    [B, Q, heads, size], or None for that of scaled dot product attention."""

NAME = "rerankbench_hooked"

_hook: ContextVar[Hook | None] = ContextVar("attention_hook", default=None)


def use_hooked_attention(network: Any) -> None:
    """Set the network's attention to the hooked function. Raises what transformers raises where it cannot be set."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # else a pass that starts from a cache gets a wrong mask
    network.set_attn_implementation(NAME)


@contextmanager
def attention_hook(hook: Hook) -> Iterator[None]:
    """Call the hook in every layer of networks with hooked attention that this context runs."""
    token = _hook.set(hook)
    try:
        yield
    finally:
        _hook.reset(token)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    hook = _hook.get()
    output = hook(query, key, value, attention_mask, scaling) if hook else None
    if output is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    return output, None
