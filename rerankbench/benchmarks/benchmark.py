"""What a benchmark is, whatever it was read from: queries, a corpus, judgments, and counts of what is missing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from annotated_types import Ge, MinLen

from rerankbench.errors import ConfigError, key_of
from rerankbench.types import Document, Qrels, Query, Run


class Corpus(Protocol):
    """Documents that may be more than memory holds: read in order, or some of them by id."""

    def __iter__(self) -> Iterator[Document]:
        """Every document once, always in the same order."""
        ...

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """The documents with these ids; ids that do not exist are left out of the answer."""
        ...

    def fingerprint(self) -> str:
        """A hash of ids and texts as read: equal when an index of one corpus serves the other."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """A loaded benchmark: the queries of one split, their judgments, and the corpus."""

    name: str
    queries: tuple[Query, ...]
    qrels: Qrels
    corpus: Corpus
    candidates: Run | None = None
    """Given candidate lists, best first, which the retriever only orders; None: it searches the whole corpus."""
    language: str = "en"
    threshold: int = 1
    """Binary measures count a document as relevant from this grade on."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """How often something was odd or left out, under readable names."""
    description: Mapping[str, Any] = field(default_factory=dict)
    """Provenance for the record: paths, versions, counts, content hashes. JSON values only."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """The options that every benchmark has.

    split: which judgments to use. queries: how many queries, sampled with `seed`; None takes all.
    fields: the fields joined, in this order, into the document text. language: of queries and documents, ISO 639-1.
    threshold: the grade from which a document is relevant in binary measures. candidates: `retriever` searches the
    corpus, `judged` takes only the judged documents of a query (answer-sentence ranking, multiple choice).
    """

    split: str = "test"
    queries: Annotated[int, Ge(1)] | None = None
    seed: int = 0
    fields: Annotated[Sequence[str], MinLen(1)] = ("title", "text")
    language: str = "en"
    threshold: Annotated[int, Ge(1)] = 1
    candidates: Literal["retriever", "judged"] = "retriever"


def assemble(
    options: BenchmarkOptions,
    *,
    name: str,
    queries: Sequence[Query],
    qrels: Qrels,
    corpus: Corpus,
    candidates: Run | None = None,
    missing: Mapping[str, int] | None = None,
    description: Mapping[str, Any] | None = None,
) -> Benchmark:
    """The benchmark that the options ask for: judged queries only, sampled, with their candidate lists.

    Keeps the order of `queries`. Judgments of queries that are not in `queries` are counted, never dropped silently.
    Raises ConfigError when no query is left.
    """
    counts = dict(missing or {})
    known = {query.id for query in queries}
    counts["judged_queries_not_found"] = sum(1 for query_id in qrels if query_id not in known)
    chosen = [query for query in queries if qrels.get(query.id)]
    if not chosen:
        problem = f"no query of {name} has a judgment"
        if queries and qrels:
            problem += f": the queries are such as {queries[0].id!r}, the judged ones such as {next(iter(qrels))!r}"
        raise ConfigError(key_of(options, "split"), f"{options.split!r}: {problem}")
    if options.queries is not None and options.queries < len(chosen):
        sample = set(random.Random(options.seed).sample(sorted(q.id for q in chosen), options.queries))
        chosen = [query for query in chosen if query.id in sample]
    chosen_qrels = {query.id: dict(qrels[query.id]) for query in chosen}
    counts["queries_without_relevant"] = sum(
        1 for grades in chosen_qrels.values() if max(grades.values()) < options.threshold
    )
    if options.candidates == "judged":
        candidates = {query_id: _label_free_order(query_id, grades) for query_id, grades in chosen_qrels.items()}
    elif candidates is not None:
        candidates = {query.id: candidates.get(query.id, []) for query in chosen}
        counts["queries_without_candidates"] = sum(1 for ranking in candidates.values() if not ranking)
    return Benchmark(
        name=name,
        queries=tuple(chosen),
        qrels=chosen_qrels,
        corpus=corpus,
        candidates=candidates,
        language=options.language,
        threshold=options.threshold,
        missing=counts,
        description=dict(description or {}),
    )


def _label_free_order(query_id: str, grades: Mapping[str, int]) -> list[tuple[str, float]]:
    """Judged documents in hash order: judgment files often list positives first, which must not leak into ties."""
    ids = sorted(grades, key=lambda document_id: hashlib.sha256(f"{query_id}\t{document_id}".encode()).digest())
    return [(document_id, 0.0) for document_id in ids]
