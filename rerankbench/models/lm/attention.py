"""How much chosen places of a causal language model's input attend to each place before them, without T×T matrices.

An attention function of our own is registered with transformers: it works out the rows that are wanted, and leaves the
output to scaled dot product attention. Queries and keys reach it after rotary embeddings, norms and the cache, so it
does not depend on the family of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError

if TYPE_CHECKING:
    import torch

NAME = "rerankbench_attention"


@dataclass
class Attention:
    """What is being watched. rows: places of the input whose attention counts; total: what they gave so far, [T]."""

    rows: range
    total: torch.Tensor | None = None

    def add(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scaling: float) -> None:
        """Add one layer: the mean over the rows, the sum over the heads.

        query: [1, heads, R, size], the last R of T places; key: [1, key heads, T, size]; mask: [1, 1, R, ≥ T], True or
        0 where a place is seen, or None where all places before a row's own are.
        """
        import torch

        heads, width, size = query.shape[1:]
        groups, length = key.shape[1:3]
        rows = torch.tensor(self.rows, device=query.device)
        wanted = query[0, :, rows].float().reshape(groups, heads // groups, len(rows), size)
        weights = torch.einsum("ghrd,gtd->ghrt", wanted, key[0].float()) * scaling
        own = (rows + length - width)[:, None]
        seen = torch.arange(length, device=query.device) <= own
        if mask is not None:
            part = mask[0, 0, rows, :length]
            seen &= part if part.dtype == torch.bool else part == 0
        given = weights.masked_fill(~seen, -torch.inf).softmax(-1).mean(2).sum((0, 1))
        self.total = given if self.total is None else self.total + given


_watched: list[Attention] = []
"""The one that is at work; empty where nobody watches."""


@contextmanager
def watching(rows: range) -> Iterator[Attention]:
    """While this runs, passes of a `watchable` network add to what it yields; rows: places of the pass's input."""
    _watched.append(Attention(rows))
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def watchable(network: Any) -> Any:
    """The network, with its attention where it can be watched. ConfigError for one that cannot."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # else a pass that starts from a cache sees the wrong places
    try:
        network.set_attn_implementation(NAME)
    except (ValueError, KeyError, ImportError) as error:
        raise ConfigError("model.path", f"the attention of this network cannot be read: {error}") from error
    config = network.config.get_text_config()
    if config._attn_implementation != NAME or getattr(config, "attn_logit_softcapping", None):
        raise ConfigError("model.path", f"the attention of a {config.model_type} network cannot be read")
    return network


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

    if _watched:
        _watched[-1].add(query, key, attention_mask, scaling if scaling is not None else query.shape[-1] ** -0.5)
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    return output, None
