"""Fusion of several first stages: reciprocal ranks (Cormack et al., SIGIR 2009), Borda counts, or sums of scores.

Written out: ranx's fusion orders ties as it likes, fails on empty lists, and compiles for ten seconds in each process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.retrievers.fuse import borda, minmax, reciprocal_ranks
from rerankbench.retrievers.retriever import Retriever
from rerankbench.store import Store, content_hash
from rerankbench.types import Run

_FOLD: dict[str, Callable[[Sequence[float]], float]] = {
    "rrf": math.fsum,
    "borda": math.fsum,
    "sum": math.fsum,
    "max": max,
    "mnz": lambda points: math.fsum(points) * len(points),
}


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """The top k of the fused lists; ties in the order in which the lists, first to last, have the documents.

    method: `rrf` (reciprocal ranks, with `rrf_k`), `borda`, or `sum`, `max`, `mnz` of min-max normalised scores.
    """

    retrievers: Annotated[Mapping[str, Retriever], MinLen(2)]
    method: Literal["rrf", "sum", "max", "mnz", "borda"] = "rrf"
    rrf_k: Annotated[int, Ge(0)] = 60
    k: Annotated[int, Ge(1)] = 100

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Fuse what each retriever finds; a query that none of them answers has an empty list."""
        runs = [retriever.retrieve(benchmark, store) for retriever in self.retrievers.values()]
        cut = None if benchmark.candidates is not None else self.k
        return {q.id: self._fused([run[q.id] for run in runs if run[q.id]])[:cut] for q in benchmark.queries}

    def fingerprint(self) -> str:
        """Of the method and of every retriever."""
        parts = {name: retriever.fingerprint() for name, retriever in self.retrievers.items()}
        return content_hash("fusion", self.method, self.rrf_k, self.k, parts)

    def _fused(self, lists: Sequence[list[tuple[str, float]]]) -> list[tuple[str, float]]:
        documents = list(dict.fromkeys(document for ranking in lists for document, _ in ranking))
        points = [self._points(ranking, documents) for ranking in lists]
        scores = {d: float(_FOLD[self.method]([part[d] for part in points if d in part])) for d in documents}
        return sorted(scores.items(), key=lambda pair: -pair[1])

    def _points(self, ranking: list[tuple[str, float]], documents: Sequence[str]) -> dict[str, float]:
        """What each document gets from one list, which is not empty."""
        ids = [document for document, _ in ranking]
        if self.method == "rrf":
            return dict(zip(ids, reciprocal_ranks(len(ids), self.rrf_k), strict=True))
        if self.method == "borda":  # documents that are not in the list share the points that are left
            left = (len(documents) - len(ids) + 1) / 2
            return dict.fromkeys(documents, left) | dict(zip(ids, borda(len(ids), len(documents)), strict=True))
        return dict(zip(ids, minmax([score for _, score in ranking], least_range=1e-9), strict=True))
