"""A small benchmark in memory, and a retriever that returns a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.store import Store
from rerankbench.types import Document, Query, Run


def toy(
    texts: Mapping[str, str], queries: Mapping[str, str], candidates: Mapping[str, list[str]] | None = None
) -> Benchmark:
    """A benchmark of these texts and queries, with the candidate lists, unscored, if given."""
    return Benchmark(
        name="toy",
        queries=tuple(Query(key, text) for key, text in queries.items()),
        qrels={key: {} for key in queries},
        corpus=MemoryCorpus(Document(key, text) for key, text in texts.items()),
        candidates=candidates and {query: [(d, 0.0) for d in given] for query, given in candidates.items()},
    )


@dataclass
class Given:
    """A retriever whose answer is known."""

    run: Run

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        return self.run

    def fingerprint(self) -> str:
        return repr(self.run)
