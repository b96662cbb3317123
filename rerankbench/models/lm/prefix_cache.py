"""The prefix cache: which prefixes of prompts are worth computing once, and their keys and values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    import torch

    KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
    """Of one text, for each layer: [heads, T, size] twice."""

MIN_SHARED = 8
"""Tokens that a prefix must have to be worth caching."""
LIKELY_SHARED = 1 / 8
"""The prefix before the first document, if it is a larger part of its prompt than this, is cached even if no other
prompt of the call shares it: the next round of a sequential strategy will ask about the same query."""
MAX_BYTES = 1 << 30
"""Bytes of keys and values that are cached; the least recently used are dropped first."""


def shared_prefixes(
    inputs: Sequence[tuple[int, ...]], prefix_lengths: Sequence[Sequence[int]], last: int
) -> list[tuple[int, ...]]:
    """The prefix of each input that is cached: the longest one that others share, or one that is likely to be.

    prefix_lengths: candidates for each input; its `last` positions are never in a prefix. The choice depends on the
    inputs alone, not on what is cached already, and so does every score, to the last bit.
    """
    candidates = [
        [ids[:length] for length in sorted(lengths, reverse=True) if MIN_SHARED <= length <= len(ids) - last]
        for ids, lengths in zip(inputs, prefix_lengths, strict=True)
    ]
    counts = Counter(prefix for prefixes in candidates for prefix in prefixes)
    chosen = []
    for ids, prefixes, lengths in zip(inputs, candidates, prefix_lengths, strict=True):
        shortest = prefixes[-1] if prefixes else ()
        likely = shortest if len(shortest) == min(lengths, default=0) > LIKELY_SHARED * len(ids) else ()
        chosen.append(next((prefix for prefix in prefixes if counts[prefix] > 1), likely))
    return chosen


class PrefixCache:
    """Keys and values of prefixes, by their ids."""

    def __init__(self) -> None:
        self._cached: LRUCache[tuple[int, ...], KeysValues] = LRUCache(MAX_BYTES, getsizeof=_bytes)

    def __contains__(self, prefix: tuple[int, ...]) -> bool:
        return prefix in self._cached

    def __getitem__(self, prefix: tuple[int, ...]) -> KeysValues:
        return self._cached[prefix]

    def add(self, prefix: tuple[int, ...], keys_values: KeysValues) -> None:
        """Cache what was computed of a prefix, unless it alone is too large."""
        with suppress(ValueError):
            self._cached[prefix] = keys_values


def _bytes(keys_values: KeysValues) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in keys_values)
