"""The best k of a vector of scores, the same in every run: ties go by row, at the cut too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def top_k(scores: np.ndarray[Any, Any], k: int, matched: np.ndarray[Any, Any] | None = None) -> list[int]:
    """Rows of the k largest scores [N], best first, ties by row; only rows that are `matched` (bool [N]) if given."""
    import numpy as np

    rows = np.flatnonzero(matched) if matched is not None else np.arange(len(scores))
    values = scores[rows]
    if k < len(rows):
        cut = np.partition(values, len(values) - k)[len(values) - k]
        above, at = np.flatnonzero(values > cut), np.flatnonzero(values == cut)
        kept = np.sort(np.concatenate([above, at[: k - len(above)]]))
        rows, values = rows[kept], values[kept]
    return [int(row) for row in rows[np.argsort(-values, kind="stable")]]


def ordered(ids: Sequence[str], scores: Sequence[float]) -> list[tuple[str, float]]:
    """All of a given candidate list by score, ties in given order."""
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], i))
    return [(ids[i], float(scores[i])) for i in order]
