"""Is the difference real? Paired over queries: bootstrap interval, t-test, randomisation test.

Smucker, Allan & Carterette, CIKM 2007, compare the tests for information retrieval.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 10_000
EXACT_UP_TO = 13
"""Queries up to which all sign flips are enumerated (2^13) instead of sampled."""


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """`difference` (mean of second - first), its `ci95` (percentile bootstrap), `p_ttest` and `p_randomization`.

    first, second: the values of the same queries, of equal length n >= 1. Both p-values are two-sided and never NaN:
    where no query differs they are 1. Raises ValueError for different or zero lengths.
    """
    import numpy as np

    if len(first) != len(second) or not first:
        raise ValueError(f"needs two equally long lists of values, got {len(first)} and {len(second)}")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    random = np.random.default_rng(seed)
    low, high = np.percentile(_bootstrap_means(differences, random), [2.5, 97.5])
    return {
        "difference": float(differences.mean()),
        "ci95": [float(low), float(high)],
        "p_ttest": _ttest(differences),
        "p_randomization": _randomization(differences, random),
    }


def _bootstrap_means(differences: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    import numpy as np

    n = len(differences)
    rows = max(1, 4_000_000 // n)  # bounds memory at 32 MB a chunk
    parts = []
    for start in range(0, SAMPLES, rows):
        picks = random.integers(0, n, size=(min(rows, SAMPLES - start), n))
        parts.append(differences[picks].mean(axis=1))
    return np.concatenate(parts)


def _ttest(differences: np.ndarray[Any, Any]) -> float:
    from scipy import stats

    n = len(differences)
    spread = float(differences.std(ddof=1)) if n > 1 else 0.0
    mean = float(differences.mean())
    if n < 2 or mean == 0.0:
        return 1.0  # one query says nothing about others
    if spread < 1e-15:
        return 0.0  # every query differs by the same amount: t is infinite
    return float(2 * stats.t.sf(abs(mean) / (spread / n**0.5), n - 1))


def _randomization(differences: np.ndarray[Any, Any], random: np.random.Generator) -> float:
    """Share of sign flips whose mean is at least as far from zero as the one seen."""
    import numpy as np

    n = len(differences)
    seen = abs(float(differences.sum())) - 1e-12  # equal sums count, whatever the order of addition
    if seen <= 0:
        return 1.0
    if n <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
        return float((np.abs(signs @ differences) >= seen).mean())
    beyond = 0
    rows = max(1, 4_000_000 // n)
    for start in range(0, SAMPLES, rows):
        signs = random.integers(0, 2, size=(min(rows, SAMPLES - start), n)) * 2.0 - 1.0
        beyond += int((np.abs(signs @ differences) >= seen).sum())
    return (beyond + 1) / (SAMPLES + 1)
