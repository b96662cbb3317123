"""No first stage: the benchmark's own candidate lists, as they came."""

from __future__ import annotations

from dataclasses import dataclass

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError, key_of
from rerankbench.retrievers.top_k import ordered
from rerankbench.store import Store, content_hash
from rerankbench.types import Run


@dataclass(frozen=True, kw_only=True)
class NoRetriever:
    """Given candidates in order of their given scores; nothing is searched and nothing cut."""

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Raises ConfigError when the benchmark gives no candidates."""
        if benchmark.candidates is None:
            raise ConfigError(
                key_of(self, ""),
                f"{benchmark.name} gives no candidate lists; choose a retriever, or benchmark.candidates=judged",
            )
        return {q: ordered([d for d, _ in given], [s for _, s in given]) for q, given in benchmark.candidates.items()}

    def fingerprint(self) -> str:
        """Always the same: there is nothing to choose."""
        return content_hash("none")
