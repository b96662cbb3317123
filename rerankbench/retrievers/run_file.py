"""A given run in TREC format, from any system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.readers import read_run
from rerankbench.errors import DataError, key_of
from rerankbench.store import Store, content_hash
from rerankbench.types import Run


def trec_order(ranking: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """As trec_eval orders a list, whatever its rank column says: float32 score, then document id, both descending."""
    import numpy as np

    limit = float(np.finfo(np.float32).max)
    single = [(document, float(np.float32(min(max(score, -limit), limit)))) for document, score in ranking]
    return sorted(single, key=lambda pair: (pair[1], pair[0]), reverse=True)


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """The first k documents of each query in the file; a query that is not in it gets an empty list.

    Of given candidate lists the documents that the file lacks come last, in their given order.
    """

    path: str
    k: Annotated[int, Ge(1)] = 1000

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Raises DataError, with the line, for a file that is not a run."""
        run = read_run(self._file())
        if benchmark.candidates is None:
            return {query.id: trec_order(run.get(query.id, []))[: self.k] for query in benchmark.queries}
        ordered: Run = {}
        for query in benchmark.queries:
            given = dict.fromkeys(document for document, _ in benchmark.candidates[query.id])
            listed = [pair for pair in trec_order(run.get(query.id, [])) if pair[0] in given]
            absent = given.keys() - {document for document, _ in listed}
            floor = listed[-1][1] - 1 if listed else 0.0
            ordered[query.id] = listed + [(document, floor) for document in given if document in absent]
        return ordered

    def fingerprint(self) -> str:
        """Of the file's bytes and k."""
        return content_hash("run_file", hashlib.sha256(self._file().read_bytes()).hexdigest(), self.k)

    def _file(self) -> Path:
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise DataError(file, f"no such run file ({key_of(self, 'path')})")
        return file
