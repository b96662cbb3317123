"""What a first stage is: queries in, a run out."""

from __future__ import annotations

from typing import Protocol

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.store import Store
from rerankbench.types import Run


class Retriever(Protocol):
    """Finds candidates. Where the benchmark gives candidate lists, it only orders those, and cuts nothing."""

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """A list for every query of the benchmark, perhaps empty: best first, scores finite and non-increasing."""
        ...

    def fingerprint(self) -> str:
        """A hash of all that the run depends on besides the benchmark."""
        ...
