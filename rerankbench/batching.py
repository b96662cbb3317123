"""Which inputs are read together: batches under a token budget, padded or packed."""

from __future__ import annotations

from collections.abc import Sequence


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """The indices of `lengths`, longest first, in batches whose padded size (items × longest) is within `budget`.

    An item longer than the budget gets a batch of its own. Longest first: memory trouble shows at once.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """The indices of `lengths` in runs, in their order, whose lengths add up to no more than `budget`."""
    found: list[list[int]] = []
    room = 0
    for index, length in enumerate(lengths):
        if not found or length > room:
            found.append([])
            room = budget
        found[-1].append(index)
        room -= length
    return found
