"""The mathematics of fusing rankings, for first stages and for rerankers. Lists are best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def minmax(scores: Sequence[float], least_range: float = 0.0) -> list[float]:
    """Scores brought to 0…1; ½ where all are equal.

    least_range: what a smaller range of scores counts as, so that (above 0) equal scores become 0.
    """
    low = min(scores, default=0.0)
    width = max(max(scores, default=0.0) - low, least_range)
    return [(score - low) / width if width else 0.5 for score in scores]


def borda(n: int, total: int | None = None) -> list[float]:
    """Borda counts of the first n of `total` ranks (None: n): total, total − 1, …"""
    return [float((n if total is None else total) - rank) for rank in range(n)]


def reciprocal_ranks(n: int, k: int) -> list[float]:
    """1 / (k + rank), ranks from 1 (Cormack et al., SIGIR 2009)."""
    return [1 / (k + rank) for rank in range(1, n + 1)]


def append_tail(head: Sequence[tuple[T, float]], tail: Sequence[tuple[T, float]]) -> list[tuple[T, float]]:
    """`head`, then `tail` in its order with scores below those of `head`, one apart; `tail` as it is without a head."""
    if not head:
        return list(tail)
    floor = head[-1][1]
    return [*head, *((item, floor - 1 - i) for i, (item, _) in enumerate(tail))]
