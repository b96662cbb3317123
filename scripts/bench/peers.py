"""What the measurements share: lists of texts that need no download, and a look at how busy the machine is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rerankbench.benchmarks.pydocs import PyDocs
from rerankbench.retrievers.bm25 import BM25
from rerankbench.store import Store


def pydocs_lists(queries: int, depth: int) -> list[tuple[str, list[str]]]:
    """Queries of the embedded benchmark with the texts of BM25's best documents."""
    benchmark = PyDocs(queries=queries).load()
    with tempfile.TemporaryDirectory() as folder:
        run = BM25(k=depth).retrieve(benchmark, Store(Path(folder)))
    found = benchmark.corpus.fetch({document for ranking in run.values() for document, _ in ranking})
    return [(query.text, [found[document].text for document, _ in run[query.id]]) for query in benchmark.queries]


def load_average() -> str:
    """The load before a measurement; other work makes its figures noise."""
    load = os.getloadavg()[0]
    return f"load {load:.2f}" + (" (busy: do not trust the times)" if load > 0.5 else "")
