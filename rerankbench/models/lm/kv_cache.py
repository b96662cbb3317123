"""Keys and values of many texts that grow side by side, in buffers that are as large from the start as they will be.

A cache that grows by concatenation copies itself for every token; of sixteen prompts of a thousand tokens that takes
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
"""Attention sees widths that are multiples of this, and at least one place that is masked: without one, another kernel
would be chosen. In bfloat16 a row's bits are then those it has alone."""


class Growing(Cache):  # type: ignore[misc]
    """The keys and values of texts of these lengths, each from place 0 on, and room for `new` more tokens of each."""

    def __init__(self, lengths: Sequence[int], new: int) -> None:
        super().__init__(layers=[])
        self.layers: list[_Layer]
        self.lengths = torch.tensor(lengths)
        self.room = _width(max(lengths) + new)
        self.width = _width(max(lengths))
        """Places that attention sees in the next step, the new ones among them."""

    def put(self, row: int, read: KeysValues) -> None:
        """Begin a row with what was read of its text."""
        if not self.layers:
            self.lengths = self.lengths.to(read[0][0].device)
            self.layers = [_Layer(self, keys, values) for keys, values in read]
        for layer, (keys, values) in zip(self.layers, read, strict=True):
            layer.keys[row, :, : keys.shape[1]] = keys
            layer.values[row, :, : keys.shape[1]] = values

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        chosen = torch.tensor(rows, device=self.lengths.device)
        self.lengths = self.lengths[chosen]
        self.width = _width(int(self.lengths.max()))
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[chosen], layer.values[chosen]

    def grow(self) -> None:
        """After a step: its places are taken."""
        self.lengths += 1
        self.width = _width(int(self.lengths.max()))

    def mask(self) -> torch.Tensor:
        """Which places each row sees in the next step, [B, width]."""
        return (torch.arange(self.width, device=self.lengths.device) <= self.lengths[:, None]).long()


def _width(longest: int) -> int:
    """What attention sees where the longest text has so many places: one more, and one that is masked."""
    return -(-(longest + 2) // WIDTH) * WIDTH


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    is_sliding = False

    def __init__(self, whole: Growing, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.whole = whole
        rows = len(whole.lengths)
        # Zeros, since what is masked is still multiplied by nought.
        self.keys = keys.new_zeros(rows, keys.shape[0], whole.room, keys.shape[2])
        self.values = values.new_zeros(rows, values.shape[0], whole.room, values.shape[2])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one place of each row, [B, heads, 1, size], and return what attention sees."""
        rows = torch.arange(len(self.keys), device=self.keys.device)
        self.keys[rows, :, self.whole.lengths] = key_states[:, :, 0]
        self.values[rows, :, self.whole.lengths] = value_states[:, :, 0]
        width = self.whole.width
        return self.keys[:, :, :width], self.values[:, :, :width]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the buffers are there."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """What transformers builds its mask by: how many places attention sees, from which on."""
        return self.whole.width, 0

    def get_seq_length(self) -> int:
        """The places before the new one, as if every row had the width: the mask says which it has."""
        return self.whole.width - 1

    def get_max_length(self) -> int:
        """The size of the buffers."""
        return self.whole.room
