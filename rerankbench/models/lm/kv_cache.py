"""A preallocated KV cache for decoding a batch of sequences of unequal lengths.

A cache that grows by concatenation copies itself for every token; for sixteen prompts of a thousand tokens that takes
longer than the rest of the step. This module imports torch and is itself imported where a network runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from rerankbench.models.lm.prefix_cache import KeysValues

WIDTH = 64
"""Attention sees widths that are multiples of this, and at least one masked position: without one, another kernel
would be chosen. In bfloat16 a row's bits are then those it has alone."""


class PreallocatedKVCache(Cache):  # type: ignore[misc]
    """Keys and values of sequences of these lengths, each from position 0 on, with space for `new` more tokens."""

    def __init__(self, lengths: Sequence[int], new: int) -> None:
        super().__init__(layers=[])
        self.layers: list[_Layer]
        self.lengths = torch.tensor(lengths)
        self.capacity = _width(max(lengths) + new)
        self.width = _width(max(lengths))
        """Positions that attention sees in the next step, the new ones among them."""

    def insert(self, row: int, prompt: KeysValues) -> None:
        """Begin a row with the keys and values of its prompt."""
        if not self.layers:
            self.lengths = self.lengths.to(prompt[0][0].device)
            self.layers = [_Layer(self, keys, values) for keys, values in prompt]
        for layer, (keys, values) in zip(self.layers, prompt, strict=True):
            layer.keys[row, :, : keys.shape[1]] = keys
            layer.values[row, :, : keys.shape[1]] = values

    def select(self, rows: Sequence[int]) -> None:
        """Drop all other rows."""
        chosen = torch.tensor(rows, device=self.lengths.device)
        self.lengths = self.lengths[chosen]
        self.width = _width(int(self.lengths.max()))
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[chosen], layer.values[chosen]

    def advance(self) -> None:
        """To be called after each step: every row is one token longer."""
        self.lengths += 1
        self.width = _width(int(self.lengths.max()))

    def mask(self) -> torch.Tensor:
        """Which positions each row sees in the next step, [B, width]."""
        return (torch.arange(self.width, device=self.lengths.device) <= self.lengths[:, None]).long()


def _width(longest: int) -> int:
    """Positions that attention sees where the longest sequence has this length: one more, and a masked one."""
    return -(-(longest + 2) // WIDTH) * WIDTH


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    is_sliding = False

    def __init__(self, cache: PreallocatedKVCache, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.cache = cache
        rows = len(cache.lengths)
        # Zeros, since masked values are still multiplied by 0.
        self.keys = keys.new_zeros(rows, keys.shape[0], cache.capacity, keys.shape[2])
        self.values = values.new_zeros(rows, values.shape[0], cache.capacity, values.shape[2])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add one token to each row, [B, heads, 1, size], and return what attention sees."""
        rows = torch.arange(len(self.keys), device=self.keys.device)
        self.keys[rows, :, self.cache.lengths] = key_states[:, :, 0]
        self.values[rows, :, self.cache.lengths] = value_states[:, :, 0]
        width = self.cache.width
        return self.keys[:, :, :width], self.values[:, :, :width]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the buffers are there."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """What transformers builds its mask from: how many positions attention sees, and the first of them."""
        return self.cache.width, 0

    def get_seq_length(self) -> int:
        """Positions before the new one, as if every row had the full width; the mask says which it has."""
        return self.cache.width - 1

    def get_max_length(self) -> int:
        """The size of the buffers."""
        return self.cache.capacity
