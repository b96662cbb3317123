"""The beginnings that prompts share: which ones are worth reading once, and the keys and values kept of them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
    """Of one text, for each layer: [heads, T, size] twice."""

MIN_SHARED = 8
"""Tokens a beginning must have to be worth keeping."""
LIKELY_SHARED = 1 / 8
"""What stands before the first document, if it is a larger part of its prompt than this, is kept although no other
prompt of the call has it: the next round of a sequential strategy will ask about the same query."""
KEPT_BYTES = 1 << 30
"""Bytes of keys and values that are kept; the least recently used go first."""


def shared_beginnings(
    inputs: Sequence[tuple[int, ...]], cuts: Sequence[Sequence[int]], keep: int
) -> list[tuple[int, ...]]:
    """The beginning of each input that is kept: the longest one that others share, or one that is likely to be.

    cuts: where an input may be cut; its last `keep` places are never in a beginning. This depends on the inputs alone,
    not on what is kept already, and so does every score, to the last bit.
    """
    candidates = [
        [ids[:cut] for cut in sorted(places, reverse=True) if MIN_SHARED <= cut <= len(ids) - keep]
        for ids, places in zip(inputs, cuts, strict=True)
    ]
    counts = Counter(beginning for own in candidates for beginning in own)
    chosen = []
    for ids, own, places in zip(inputs, candidates, cuts, strict=True):
        first = own[-1] if own else ()
        likely = first if len(first) == min(places, default=0) > LIKELY_SHARED * len(ids) else ()
        chosen.append(next((beginning for beginning in own if counts[beginning] > 1), likely))
    return chosen


class Beginnings:
    """Keys and values of beginnings, by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], KeysValues] = OrderedDict()
        self._bytes = 0

    def __contains__(self, beginning: tuple[int, ...]) -> bool:
        return beginning in self._kept

    def __getitem__(self, beginning: tuple[int, ...]) -> KeysValues:
        self._kept.move_to_end(beginning)
        return self._kept[beginning]

    def add(self, beginning: tuple[int, ...], read: KeysValues) -> None:
        """Keep what was read of a beginning that is not kept yet, and let go of what is too much."""
        self._kept[beginning] = read
        self._bytes += _bytes(read)
        while self._bytes > KEPT_BYTES:
            self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def _bytes(read: KeysValues) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in read)
