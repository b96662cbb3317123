"""The best k of a vector of scores, in trec_eval's order: float32 score, then document id, both descending.

One rule for every retriever, at the cut too, makes runs repeatable and the measured order the one that trec_eval sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Vector = np.ndarray[Any, Any]


def tie_places(ids: Sequence[str]) -> Vector:
    """For each row its place among ties, int32 [N]: the largest document id comes first."""
    import numpy as np

    places = np.empty(len(ids), dtype=np.int32)
    places[sorted(range(len(ids)), key=ids.__getitem__, reverse=True)] = np.arange(len(ids), dtype=np.int32)
    return places


def top_k(scores: Vector, k: int, places: Vector, matched: Vector | None = None) -> list[int]:
    """Rows of the k largest scores [N], best first; only rows that are `matched` (bool [N]), if given."""
    import numpy as np

    rows = np.flatnonzero(matched) if matched is not None else np.arange(len(scores))
    values = scores[rows].astype(np.float32)
    if k < len(rows):
        cut = np.partition(values, len(values) - k)[len(values) - k]
        kept = values >= cut  # more than k where documents tie at the cut; the sort below decides among them
        rows, values = rows[kept], values[kept]
    return [int(row) for row in rows[np.lexsort((places[rows], -values))][:k]]


def ordered(ids: Sequence[str], scores: Sequence[float]) -> list[tuple[str, float]]:
    """All of a given candidate list by score, ties in given order."""
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], i))
    return [(ids[i], float(scores[i])) for i in order]
