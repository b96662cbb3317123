"""What a run cost: the peak of memory, and percentiles of times."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def peak_memory_mb() -> float | None:
    """The largest resident set of this process so far, in MiB; None on Windows, which does not count it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def peak_cuda_memory_mb() -> float | None:
    """The most memory allocated on CUDA devices so far, in MiB; None where torch has not used any."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    allocated: float = sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / (1 << 20)
    return round(allocated, 1)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p95 by the nearest-rank rule; zeros for no values."""
    ordered = sorted(values) or [0.0]
    return {f"p{p}": round(ordered[min(len(ordered) - 1, -(-p * len(ordered) // 100) - 1)], 6) for p in (50, 95)}
