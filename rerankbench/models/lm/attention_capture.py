"""Attention capture: how much chosen positions of a causal model's input attend to each position before them.

Only the attention rows that are wanted are computed, not T×T matrices; the layers' output is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.models.lm.attention_hook import NAME, attention_hook, use_hooked_attention

if TYPE_CHECKING:
    import torch


@dataclass
class AttentionCapture:
    """rows: positions of the pass's input whose attention is captured; total: its sum over layers and heads, [T]."""

    rows: range
    total: torch.Tensor | None = None

    def add(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float | None,
    ) -> None:
        """Add one layer: the mean over the rows, the sum over the heads.

        query: [1, heads, R, size], the last R of T positions; key: [1, key heads, T, size]; mask: [1, 1, R, ≥ T], True
        or 0 at visible positions, or None where each row sees all positions up to its own.
        """
        import torch

        heads, width, size = query.shape[1:]
        groups, length = key.shape[1:3]
        rows = torch.tensor(self.rows, device=query.device)
        chosen = query[0, :, rows].float().reshape(groups, heads // groups, len(rows), size)
        scaling = size**-0.5 if scaling is None else scaling
        weights = torch.einsum("ghrd,gtd->ghrt", chosen, key[0].float()) * scaling
        positions = (rows + length - width)[:, None]
        visible = torch.arange(length, device=query.device) <= positions
        if mask is not None:
            part = mask[0, 0, rows, :length]
            visible &= part if part.dtype == torch.bool else part == 0
        added = weights.masked_fill(~visible, -torch.inf).softmax(-1).mean(2).sum((0, 1))
        self.total = added if self.total is None else self.total + added


@contextmanager
def capture_attention(rows: range) -> Iterator[AttentionCapture]:
    """Passes of a network prepared by `enable_capture` add to the capture that this yields."""
    capture = AttentionCapture(rows)
    with attention_hook(capture.add):
        yield capture


def enable_capture(network: Any, key: str = "model") -> Any:
    """The network, prepared for `capture_attention`. Raises ConfigError, with this key, for one that cannot be."""
    try:
        use_hooked_attention(network)
    except (ValueError, KeyError, ImportError) as error:
        raise ConfigError(key, f"the attention of this network cannot be read: {error}") from error
    config = network.config.get_text_config()
    if config._attn_implementation != NAME or getattr(config, "attn_logit_softcapping", None):
        raise ConfigError(key, f"the attention of a {config.model_type} network cannot be read")
    return network
