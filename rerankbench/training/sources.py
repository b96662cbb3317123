"""Training sets as they are loaded: queries that can be learnt from, and the texts that can be shown for them."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError
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

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            problem = f"the weight of {self.benchmark.name} must not be negative, got {self.weight}"
            raise ConfigError("groups", problem)


@dataclass(frozen=True)
class Material:
    """What training uses of a source.

    positives: the relevant documents of each query, as far as the corpus has them, at least one. never: what is no
    negative of a query: relevant and partly relevant documents (grade above 0), also those of a query with the same
    text, and their copies by text. documents:
    all that can be shown. pool: ids of documents drawn at random from the corpus.
    """

    name: str
    queries: tuple[Query, ...]
    first_stage: Run
    grades: Qrels
    positives: Mapping[str, tuple[str, ...]]
    never: Mapping[str, frozenset[str]]
    documents: Mapping[str, Document]
    pool: tuple[str, ...]


def stable_seed(*parts: object) -> int:
    """A seed (64 bits) of these values, the same in every process."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest())


def load(
    source: Source,
    held_out: Sequence[Query],
    duplicates: Literal["error", "drop"],
    sample: int | None,
    depth: int,
    pool: int,
    seed: int,
    counts: Counter[str],
) -> Material:
    """The material of a source: its first-stage lists to `depth`, its judged documents, a pool of `pool` others.

    sample: of so many queries, drawn with the seed; None: all. What is left out is added to `counts`. Raises
    ConfigError where held-out queries are among the training queries and `duplicates` is `error`.
    """
    benchmark, run = source.benchmark, source.first_stage
    qrels, threshold = benchmark.qrels, benchmark.threshold
    learnable = [query for query in benchmark.queries if max(qrels[query.id].values()) >= threshold]
    counts["queries_without_positive"] += len(benchmark.queries) - len(learnable)
    queries = leakage.check(learnable, held_out, duplicates, benchmark.name)
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
    asked = {query.id: leakage.text_hash(query.text) for query in queries}
    wanted_by: dict[bytes, set[str]] = {}
    for name, text in asked.items():
        wanted_by.setdefault(text, set()).update(d for d, grade in qrels[name].items() if grade > 0)
    positives: dict[str, tuple[str, ...]] = {}
    never: dict[str, frozenset[str]] = {}
    for query in queries:
        grades = qrels[query.id]
        relevant = tuple(d for d, grade in grades.items() if grade >= threshold and d in documents)
        if not relevant:
            counts["queries_without_positive"] += 1
            continue
        good = wanted_by[asked[query.id]]
        same = {copy for document in good & documents.keys() for copy in copies[hashes[document]]}
        counts["copies_of_positives"] += len(same - good)
        counts["partly_relevant_left_out"] += sum(0 < grade < threshold for grade in grades.values())
        positives[query.id] = relevant
        never[query.id] = frozenset(good | same)
    kept = tuple(query for query in queries if query.id in positives)
    return Material(benchmark.name, kept, run, qrels, positives, never, documents, tuple(sorted(drawn)))


def _pool(benchmark: Benchmark, size: int, seed: int) -> dict[str, Document]:
    """So many documents of the corpus, drawn by the hash of their ids, so that the order of the file plays no part."""
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
