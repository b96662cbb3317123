"""Any benchmark of ir_datasets (MacAvaney et al., SIGIR 2021), by its id; nothing is fetched before it is needed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark, BenchmarkOptions, assemble
from rerankbench.benchmarks.corpus import joined_fields
from rerankbench.benchmarks.readers import identifier, ranked
from rerankbench.errors import ConfigError, DataError, nearest
from rerankbench.store import content_hash
from rerankbench.types import Document, Qrels, Query, Run

log = logging.getLogger("rerankbench")
DEFAULT_FIELDS = ("title", "text")


@dataclass(frozen=True, kw_only=True)
class IrDatasets(BenchmarkOptions):
    """Queries, documents and judgments of an ir_datasets id, such as `beir/scifact/test`.

    id: it names the split too, so `split` may only repeat what is in it. fields: where a document has no `text`, the
    default is what ir_datasets itself takes as its text. use_scoreddocs: rerank the candidates that come with the id.
    """

    id: str
    use_scoreddocs: bool = False

    def load(self) -> Benchmark:
        """May download, as ir_datasets does. Raises ConfigError for an id or field that does not exist."""
        import ir_datasets

        dataset = _dataset(self.id)
        if self.split != "test" and self.split not in self.id.split("/"):
            problem = f"does not apply to ir_datasets, where the id names the split; benchmark.id is {self.id!r}"
            raise ConfigError("benchmark.split", problem)
        lacking = [part for part in ("docs", "queries", "qrels") if not dataset.has(part)]
        if self.use_scoreddocs and not dataset.has("scoreddocs"):
            lacking.append("scoreddocs")
        if lacking:
            below = [name for name in ir_datasets.registry if name.startswith(f"{self.id}/")]
            hint = f"; below it: {', '.join(below[:20])}" if below else ""
            raise ConfigError("benchmark.id", f"{self.id!r} has no {' and no '.join(lacking)}{hint}")
        corpus = IrDatasetsCorpus(self.id, _document_fields(dataset, tuple(self.fields)))
        try:
            queries = [_query(record, self.id) for record in dataset.queries_iter()]
            qrels: Qrels = {}
            for qrel in dataset.qrels_iter():
                qrels.setdefault(str(qrel.query_id), {})[str(qrel.doc_id)] = int(qrel.relevance)
            candidates = _scoreddocs(dataset) if self.use_scoreddocs else None
            fingerprint = corpus.fingerprint()
        except (OSError, RuntimeError) as error:
            raise DataError(self.id, f"ir_datasets could not provide it ({' '.join(str(error).split())})") from error
        language = dataset.queries_lang()
        if language not in (None, self.language):
            log.warning("%s is in %r: set benchmark.language (it is %r)", self.id, language, self.language)
        return assemble(
            self,
            name=self.id.replace("/", "-"),
            queries=queries,
            qrels=qrels,
            corpus=corpus,
            candidates=candidates,
            description={
                "id": self.id,
                "ir_datasets": ir_datasets.__version__,
                "queries_in_file": len(queries),
                "judged_pairs": sum(len(grades) for grades in qrels.values()),
                "fingerprint": fingerprint,
            },
        )


@dataclass(frozen=True)
class IrDatasetsCorpus:
    """The documents of an id; no fields means ir_datasets' own choice of text."""

    id: str
    fields: tuple[str, ...]

    def __iter__(self) -> Iterator[Document]:
        for record in _dataset(self.id).docs_iter():
            yield self._document(record)

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """The documents with these ids, by the document store of ir_datasets, which is built on first use."""
        wanted = sorted(ids)
        documents = map(self._document, _dataset(self.id).docs_store().get_many_iter(wanted)) if wanted else ()
        return {document.id: document for document in documents}

    def fingerprint(self) -> str:
        """A hash of the id that the documents belong to, their number as far as known, and the first of them."""
        import ir_datasets

        owner, count = ir_datasets.docs_parent_id(self.id), _dataset(self.id).docs_count()
        first = [(document.id, document.text) for document in islice(self, 100)]
        return content_hash("ir_datasets", owner, count, self.fields, first)

    def _document(self, record: Any) -> Document:
        text = joined_fields(record._asdict(), self.fields, self.id) if self.fields else record.default_text()
        return Document(identifier(record.doc_id, self.id, None, "document id"), text)


def _dataset(dataset_id: str) -> Any:
    """The data set of ir_datasets. Raises ConfigError for an id that is not registered."""
    import ir_datasets

    try:
        return ir_datasets.load(dataset_id)
    except KeyError:
        hint = nearest(dataset_id, list(ir_datasets.registry))
        raise ConfigError("benchmark.id", f"ir_datasets has no {dataset_id!r}; {hint}") from None


def _document_fields(dataset: Any, fields: Sequence[str]) -> tuple[str, ...]:
    """The fields to join; none for the default where a document keeps its text under other names."""
    available = dataset.docs_cls()._fields
    lacking = [field for field in fields if field not in available]
    if not lacking or (tuple(fields) == DEFAULT_FIELDS and lacking == ["title"]):
        return tuple(field for field in fields if field in available)
    if tuple(fields) == DEFAULT_FIELDS:
        return ()
    problem = f"the documents have no field {lacking[0]!r}; {nearest(lacking[0], available)}"
    raise ConfigError("benchmark.fields", problem)


def _query(record: Any, dataset_id: str) -> Query:
    parts = record._asdict()
    query_id = identifier(parts.pop("query_id"), dataset_id, None, "query id")
    text = record.default_text() if hasattr(record, "default_text") else parts.get("text", parts.get("title"))
    if not isinstance(text, str):
        raise DataError(dataset_id, f"query {query_id!r} has no text")
    others = {name: value for name, value in parts.items() if isinstance(value, str | int | float) and value != text}
    return Query(query_id, text, others)


def _scoreddocs(dataset: Any) -> Run:
    scores: dict[str, dict[str, float]] = {}
    for record in dataset.scoreddocs_iter():
        scores.setdefault(str(record.query_id), {})[str(record.doc_id)] = float(record.score)
    return {query_id: ranked(ranking) for query_id, ranking in scores.items()}
