"""Training sets as they are loaded: queries with a relevant document, and the documents that groups may contain."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.training import leakage
from rerankbench.training.groups import Group
from rerankbench.types import Document, Qrels, Query, Run


@dataclass(frozen=True)
class Source:
    """A training set (a benchmark's split `train`) and its first-stage run.

    weight: how often its groups come in an epoch; 1 is once each, 0.5 half of them, then the other half, 0 never.
    """

    benchmark: Benchmark
    first_stage: Run
    weight: float = 1.0


@dataclass(frozen=True)
class PreparedSource:
    """What training uses of a source.

    positives: the relevant documents of each query, as far as the corpus has them, at least one. known_positives: what
    is no negative of a query: relevant and partly relevant documents (grade above 0), also those of a query with the
    same text, and their copies by text. documents: all that groups may contain. pool: ids of documents drawn at random
    from the corpus.
    """

    name: str
    queries: tuple[Query, ...]
    first_stage: Run
    grades: Qrels
    positives: Mapping[str, tuple[str, ...]]
    known_positives: Mapping[str, frozenset[str]]
    documents: Mapping[str, Document]
    pool: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What the stages of a training learn from and are measured on.

    dev: the dev queries with all their candidates, none for no dev measure. held_out: every query that must not be
    trained on. corpus: the collection that the reranker is for. retention_sets: queries of other training sets, by the
    set's name, with their judgments; they are measured after each stage.
    """

    sources: Sequence[Source]
    dev: Sequence[Group] = ()
    dev_qrels: Qrels = field(default_factory=dict)
    held_out: Sequence[Query] = ()
    corpus: Iterable[Document] = ()
    retention_sets: Mapping[str, tuple[Sequence[Group], Qrels]] = field(default_factory=dict)


def stable_seed(*parts: object) -> int:
    """A seed (64 bits) of these values, the same in every process."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest())


def prepare(
    source: Source,
    held_out: Sequence[Query],
    duplicates: Literal["error", "drop"],
    sample: int | None,
    depth: int,
    pool: int,
    seed: int,
    counts: Counter[str],
    key: str,
) -> PreparedSource:
    """The source with its first-stage lists to `depth`, its judged documents, and a pool of `pool` others.

    sample: how many queries, drawn with the seed; None: all. What is left out is added to `counts`. key: that of
    `duplicates`. Raises ConfigError where held-out queries are among the training queries and it is `error`.
    """
    benchmark, run = source.benchmark, source.first_stage
    qrels, threshold = benchmark.qrels, benchmark.threshold
    learnable = [query for query in benchmark.queries if max(qrels[query.id].values()) >= threshold]
    counts["queries_without_positive"] += len(benchmark.queries) - len(learnable)
    queries = leakage.check(learnable, held_out, duplicates, benchmark.name, key)
    counts["held_out_queries_left_out"] += len(learnable) - len(queries)
    if sample is not None and sample < len(queries):
        wanted = set(random.Random(seed).sample(sorted(query.id for query in queries), sample))
        queries = [query for query in queries if query.id in wanted]

    drawn = _pool(benchmark, pool, seed) if pool else {}
    judged = {document for query in queries for document in qrels[query.id]}
    listed = {document for query in queries for document, _ in run.get(query.id, ())[:depth]}
    documents = benchmark.corpus.fetch((judged | listed) - drawn.keys()) | drawn
    counts["judged_documents_not_in_corpus"] += len(judged - documents.keys())
    counts["candidates_not_in_corpus"] += len(listed - documents.keys())

    copies: dict[bytes, list[str]] = {}
    hashes = {document.id: leakage.text_hash(document.text) for document in documents.values()}
    for document_id, text in hashes.items():
        copies.setdefault(text, []).append(document_id)
    query_hashes = {query.id: leakage.text_hash(query.text) for query in queries}
    relevant_to: dict[bytes, set[str]] = {}
    for name, text in query_hashes.items():
        relevant_to.setdefault(text, set()).update(d for d, grade in qrels[name].items() if grade > 0)
    positives: dict[str, tuple[str, ...]] = {}
    known_positives: dict[str, frozenset[str]] = {}
    for query in queries:
        grades = qrels[query.id]
        relevant = tuple(d for d, grade in grades.items() if grade >= threshold and d in documents)
        if not relevant:
            counts["queries_without_positive"] += 1
            continue
        graded = relevant_to[query_hashes[query.id]]
        equal = {copy for document in graded & documents.keys() for copy in copies[hashes[document]]}
        counts["copies_of_positives"] += len(equal - graded)
        counts["partly_relevant_left_out"] += sum(0 < grade < threshold for grade in grades.values())
        positives[query.id] = relevant
        known_positives[query.id] = frozenset(graded | equal)
    usable = tuple(query for query in queries if query.id in positives)
    pool_ids = tuple(sorted(drawn))
    return PreparedSource(benchmark.name, usable, run, qrels, positives, known_positives, documents, pool_ids)


def _pool(benchmark: Benchmark, size: int, seed: int) -> dict[str, Document]:
    """`size` documents of the corpus, drawn by the hash of their ids, so that the order of the file has no effect."""
    chosen = heapq.nsmallest(size, benchmark.corpus, key=lambda document: stable_seed(seed, "pool", document.id))
    return {document.id: document for document in chosen}


def candidate_groups(benchmark: Benchmark, first_stage: Run, depth: int) -> list[Group]:
    """Each query with its top `depth` candidates in first-stage order, nothing sampled: what a reranker is tested on.

    Unjudged candidates have label 0. Candidates that the corpus lacks are left out, and queries without a candidate.
    """
    tops = {query.id: first_stage.get(query.id, [])[:depth] for query in benchmark.queries}
    documents = benchmark.corpus.fetch({document for top in tops.values() for document, _ in top})
    groups = []
    for query in benchmark.queries:
        grades = benchmark.qrels.get(query.id, {})
        kept = [(rank, d, score) for rank, (d, score) in enumerate(tops[query.id], 1) if d in documents]
        if kept:
            groups.append(
                Group(
                    query=query,
                    documents=tuple(documents[d] for _, d, _ in kept),
                    labels=tuple(float(max(grades.get(d, 0), 0)) for _, d, _ in kept),
                    judged=tuple(d in grades for _, d, _ in kept),
                    ranks=tuple(rank for rank, _, _ in kept),
                    scores=tuple(score for _, _, score in kept),
                    first_stage=tuple(score for _, score in first_stage[query.id]),
                    positives=frozenset(d for d, grade in grades.items() if grade > 0),
                    source=benchmark.name,
                )
            )
    return groups
