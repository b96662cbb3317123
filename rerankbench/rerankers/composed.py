"""Rerankers made of rerankers: what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.retrievers import fuse
from rerankbench.types import Document, Query, Run

Rerank = Callable[[AnyReranker, Sequence[Query], Run, Mapping[str, Document]], Run]
"""The engine's method: a run, reranked by any reranker."""


def top(run: Run, queries: Sequence[Query], depth: int | None) -> Run:
    """The best `depth` documents of each query (None: all)."""
    return {query.id: run[query.id][:depth] for query in queries}


def append_tail(head: Run, run: Run) -> Run:
    """Each list of `head`, then what else the list of `run` has, in its order, scored below, one apart."""
    whole: Run = {}
    for query, ranked in head.items():
        ids = {document for document, _ in ranked}
        whole[query] = fuse.append_tail(ranked, [pair for pair in run[query] if pair[0] not in ids])
    return whole
