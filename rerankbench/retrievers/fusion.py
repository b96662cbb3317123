"""Fusion of several first stages with ranx (Bassani & Romelli, CIKM 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError
from rerankbench.retrievers.retriever import Retriever
from rerankbench.store import Store, content_hash
from rerankbench.types import Run

_RANX = {"rrf": "rrf", "sum": "sum", "max": "max", "mnz": "mnz", "borda": "bordafuse"}


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """The top k of the fused lists.

    method: `rrf` (reciprocal ranks, with `rrf_k`), `borda`, or `sum`, `max`, `mnz` of min-max normalised scores.
    """

    retrievers: Mapping[str, Retriever]
    method: Literal["rrf", "sum", "max", "mnz", "borda"] = "rrf"
    rrf_k: int = 60
    k: int = 100

    def __post_init__(self) -> None:
        if len(self.retrievers) < 2:
            raise ConfigError("retriever.retrievers", "needs at least two retrievers to fuse")
        if self.k < 1:
            raise ConfigError("retriever.k", f"must be at least 1, got {self.k}")

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Fuse what each retriever finds; a query that none of them answers has an empty list."""
        import ranx

        runs = [retriever.retrieve(benchmark, store) for retriever in self.retrievers.values()]
        # ranx fails on a query that one run lacks or answers with nothing, so such queries are fused apart.
        fused: dict[str, dict[str, float]] = {}
        groups: dict[tuple[int, ...], list[str]] = {}
        for query in benchmark.queries:
            answering = tuple(i for i, run in enumerate(runs) if run[query.id])
            if answering:
                groups.setdefault(answering, []).append(query.id)
        for answering, queries in groups.items():
            parts = [ranx.Run({q: dict(runs[i][q]) for q in queries}) for i in answering]
            result = ranx.fuse(
                parts if len(parts) > 1 else [parts[0], parts[0]],  # one list fuses to itself
                norm="min-max" if self.method in ("sum", "max", "mnz") else None,
                method=_RANX[self.method],
                params={"k": self.rrf_k} if self.method == "rrf" else None,
            )
            fused.update(result.to_dict())
        cut = None if benchmark.candidates is not None else self.k
        return {q.id: _best_first(fused.get(q.id, {}), runs, q.id)[:cut] for q in benchmark.queries}

    def fingerprint(self) -> str:
        """Of the method and of every retriever."""
        parts = {name: retriever.fingerprint() for name, retriever in self.retrievers.items()}
        return content_hash("fusion", self.method, self.rrf_k, self.k, parts)


def _best_first(scores: Mapping[str, float], runs: list[Run], query: str) -> list[tuple[str, float]]:
    """By fused score; ties in the order in which the runs, first to last, have the documents."""
    place = {d: i for i, d in enumerate(dict.fromkeys(d for run in runs for d, _ in run[query]))}
    return sorted(((d, float(s)) for d, s in scores.items()), key=lambda pair: (-pair[1], place[pair[0]]))
