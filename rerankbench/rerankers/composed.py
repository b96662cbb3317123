"""Rerankers made of rerankers: what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rerankbench.errors import ConfigError
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.types import Document, Query, Run

Rerank = Callable[[AnyReranker, Sequence[Query], Run, Mapping[str, Document]], Run]
"""The engine's own work: a run, reranked by any reranker."""


def top(run: Run, queries: Sequence[Query], depth: int | None) -> Run:
    """The best `depth` documents of each query (None: all)."""
    return {query.id: run[query.id][:depth] for query in queries}


def above(head: Run, run: Run) -> Run:
    """Each list of `head`, then what else the list of `run` has, in its order, scored below, one apart."""
    whole: Run = {}
    for query, ranked in head.items():
        placed = {document for document, _ in ranked}
        rest = [(document, score) for document, score in run[query] if document not in placed]
        floor = ranked[-1][1] if ranked else 0.0
        whole[query] = [*ranked, *((d, floor - 1 - i) for i, (d, _) in enumerate(rest))] if ranked else rest
    return whole


def require_depth(depth: int | None) -> None:
    """ConfigError for a depth below 0."""
    if depth is not None and depth < 0:
        raise ConfigError("depth", f"must not be negative, got {depth}")
