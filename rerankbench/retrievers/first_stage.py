"""First-stage retrieval: the candidates of every query, from the store where they are known, and their documents."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError
from rerankbench.profiling import Clock
from rerankbench.store import Store, content_hash
from rerankbench.types import Document, Run

log = logging.getLogger("rerankbench")


def retrieve(
    benchmark: Benchmark, retriever: Any, store: Store, clock: Clock, name: str
) -> tuple[Run, dict[str, Document], dict[str, int]]:
    """The first-stage run, its documents, and how many candidates and judged documents the corpus lacks.

    name: of the retriever, for the log. Raises ConfigError where no candidate is a document of the corpus.
    """
    with clock.phase("retrieve", f"retrieving with {name}"):
        key = run_key(benchmark, retriever.fingerprint())
        first_stage, stored = store.run(key, lambda: retriever.retrieve(benchmark, store))
        if stored:
            log.info("first-stage run reused from the store")
    with clock.phase("documents", "reading the candidates' texts"):
        documents, missing_counts = fetch(benchmark, first_stage)
    return drop_missing(first_stage, documents), documents, missing_counts


def run_key(benchmark: Benchmark, retriever: str) -> str:
    """What a first-stage run depends on: corpus, queries, given candidates, the retriever's fingerprint."""
    queries = [(query.id, query.text) for query in benchmark.queries]
    return content_hash("run", benchmark.corpus.fingerprint(), queries, benchmark.candidates, retriever)


def fetch(benchmark: Benchmark, first_stage: Run) -> tuple[dict[str, Document], dict[str, int]]:
    """The candidates' documents in one pass over the corpus, and how many candidates and judged documents it lacks."""
    candidates = {document for ranking in first_stage.values() for document, _ in ranking}
    judged = {document for grades in benchmark.qrels.values() for document in grades}
    found = benchmark.corpus.fetch(candidates | judged)
    missing_counts = {
        "candidates_not_in_corpus": len(candidates - found.keys()),
        "judged_documents_not_in_corpus": len(judged - found.keys()),
    }
    if candidates and not candidates & found.keys():
        raise ConfigError("retriever", "no candidate is a document of the corpus; are the ids of another collection?")
    return {document: found[document] for document in candidates & found.keys()}, missing_counts


def drop_missing(run: Run, documents: Mapping[str, Document]) -> Run:
    """The run with the documents that exist."""
    return {query: [pair for pair in ranking if pair[0] in documents] for query, ranking in run.items()}
