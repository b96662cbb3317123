"""The best k of a vector of scores, in trec_eval's order: float32 score, then document id, both descending.

One rule for every retriever, at the cut too, makes runs repeatable and the measured order the one that trec_eval sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Vector = np.ndarray[Any, Any]


def tie_ranks(ids: Sequence[str]) -> Vector:
    """For each row its rank among ties, int32 [N]: the largest document id comes first."""
    import numpy as np

    ties = np.empty(len(ids), dtype=np.int32)
    ties[sorted(range(len(ids)), key=ids.__getitem__, reverse=True)] = np.arange(len(ids), dtype=np.int32)
    return ties


def top_k(scores: Vector, k: int, ties: Vector, matched: Vector | None = None) -> list[int]:
    """Rows of the k largest scores [N], best first; only rows that are `matched` (bool [N]), if given."""
    import numpy as np

    rows = np.flatnonzero(matched) if matched is not None else np.arange(len(scores))
    values = scores[rows].astype(np.float32)
    if k < len(rows):
        cut = np.partition(values, len(values) - k)[len(values) - k]
        at_least = values >= cut  # more than k where documents tie at the cut; the sort below decides among them
        rows, values = rows[at_least], values[at_least]
    return [int(row) for row in rows[np.lexsort((ties[rows], -values))][:k]]


def ordered(ids: Sequence[str], scores: Sequence[float]) -> list[tuple[str, float]]:
    """All of a given candidate list by score, ties in given order."""
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], i))
    return [(ids[i], float(scores[i])) for i in order]
