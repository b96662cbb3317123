"""Is the difference between two paired lists of values more than chance? Interval and two tests, never NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 10_000
EXACT_UP_TO = 13
"""With so few differences all sign patterns are fewer than SAMPLES and are enumerated."""
_CHUNK = 1 << 21


def paired(first: Sequence[float], second: Sequence[float], seed: int) -> dict[str, Any]:
    """Mean difference (second - first), its 95% bootstrap interval, and two-sided p-values.

    first, second: one value a query, in the same order: [n]. `p_ttest`: paired t-test. `p_randomization`: sign flips
    of the differences (Smucker, Allan & Carterette, CIKM 2007), all of them where they are few, else sampled.
    Where nothing can be told (n < 2, no difference) p is 1.
    """
    import numpy as np

    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if differences.size == 0:
        return {"difference": 0.0, "ci95": [0.0, 0.0], "p_ttest": 1.0, "p_randomization": 1.0}
    if not np.isfinite(differences).all():
        raise ValueError("values must be finite")
    return {
        "difference": float(differences.mean()),
        "ci95": _bootstrap(differences, np.random.default_rng([seed, 1])),
        "p_ttest": _t_test(differences),
        "p_randomization": _randomization(differences, np.random.default_rng([seed, 2])),
    }


def _bootstrap(differences: np.ndarray[Any, Any], rng: np.random.Generator) -> list[float]:
    import numpy as np

    n = len(differences)
    means = [differences[rng.integers(0, n, size=(rows, n))].mean(axis=1) for rows in _chunks(n)]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return [float(low), float(high)]


def _t_test(differences: np.ndarray[Any, Any]) -> float:
    from scipy.special import stdtr

    n, mean = len(differences), float(differences.mean())
    if n < 2 or not differences.any():
        return 1.0
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error == 0.0:  # the same difference everywhere
        return 0.0
    return float(min(1.0, 2.0 * stdtr(n - 1, -abs(mean / error))))


def _randomization(differences: np.ndarray[Any, Any], rng: np.random.Generator) -> float:
    import numpy as np

    differences = differences[differences != 0.0]  # a zero is the same with either sign
    n = len(differences)
    if n == 0:
        return 1.0
    total = differences.sum()
    # Sums of the same numbers in another order differ in the last bits; those count as equal.
    bar = abs(total) - 1e-12 * np.abs(differences).sum()
    if n <= EXACT_UP_TO:
        every = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs(total - 2.0 * (every @ differences)) >= bar))
    extreme = 0
    for rows in _chunks(n):
        packed = rng.integers(0, 256, size=(rows, (n + 7) // 8), dtype=np.uint8)
        flips = np.unpackbits(packed, axis=1, count=n)
        extreme += int(np.sum(np.abs(total - 2.0 * (flips @ differences)) >= bar))
    return (extreme + 1) / (SAMPLES + 1)


def _chunks(n: int) -> Iterator[int]:
    """Row counts that sum to SAMPLES, each small enough that rows x n stays in memory."""
    size = max(1, min(SAMPLES, _CHUNK // n))
    for start in range(0, SAMPLES, size):
        yield min(size, SAMPLES - start)
