"""Any benchmark of ir_datasets (MacAvaney et al., SIGIR 2021), by its id; nothing is fetched before it is needed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark, BenchmarkOptions, assemble
from rerankbench.benchmarks.corpus import joined_fields, metadata_of
from rerankbench.benchmarks.readers import identifier, ranked
from rerankbench.errors import ConfigError, DataError, key_of, nearest
from rerankbench.store import content_hash
from rerankbench.types import Document, Qrels, Query, Run

log = logging.getLogger("rerankbench")
DEFAULT_FIELDS = ("title", "text")
PLAIN = str | int | float


@dataclass(frozen=True, kw_only=True)
class IrDatasets(BenchmarkOptions):
    """Queries, documents and judgments of an ir_datasets id, such as `beir/scifact/test`.

    id: it names the split too, so `split` may only repeat what is in it. fields: where a document has no `text`, the
    default is what ir_datasets itself takes as its text; plain values of other fields become metadata. use_scoreddocs:
    rerank the candidates that come with the id.
    """

    id: str
    use_scoreddocs: bool = False

    def load(self) -> Benchmark:
        """May download, as ir_datasets does. Raises ConfigError for an id or field that does not exist."""
        import ir_datasets

        dataset = self._dataset()
        if self.split != "test" and self.split not in self.id.split("/"):
            problem = f"does not apply to ir_datasets, where the id names the split; it is {self.id!r}"
            raise ConfigError(key_of(self, "split"), problem)
        absent = [part for part in ("docs", "queries", "qrels") if not dataset.has(part)]
        if self.use_scoreddocs and not dataset.has("scoreddocs"):
            absent.append("scoreddocs")
        if absent:
            inner = [name for name in ir_datasets.registry if name.startswith(f"{self.id}/")]
            hint = f"; below it: {', '.join(inner[:20])}" if inner else ""
            raise ConfigError(key_of(self, "id"), f"{self.id!r} has no {' and no '.join(absent)}{hint}")
        corpus = IrDatasetsCorpus(self.id, self._document_fields(dataset))
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
            log.warning("%s is in %r: set %s (it is %r)", self.id, language, key_of(self, "language"), self.language)
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

    def _dataset(self) -> Any:
        import ir_datasets

        try:
            return ir_datasets.load(self.id)
        except KeyError:
            hint = nearest(self.id, list(ir_datasets.registry))
            raise ConfigError(key_of(self, "id"), f"ir_datasets has no {self.id!r}; {hint}") from None

    def _document_fields(self, dataset: Any) -> tuple[str, ...]:
        """The fields to join; none for the default where a document has its text under other names."""
        fields, available = tuple(self.fields), dataset.docs_cls()._fields
        absent = [field for field in fields if field not in available]
        if not absent or (fields == DEFAULT_FIELDS and absent == ["title"]):
            return tuple(field for field in fields if field in available)
        if fields == DEFAULT_FIELDS:
            return ()
        problem = f"the documents have no field {absent[0]!r}; {nearest(absent[0], available)}"
        raise ConfigError(key_of(self, "fields"), problem)


@dataclass(frozen=True)
class IrDatasetsCorpus:
    """The documents of an id; no fields means the text that ir_datasets chooses."""

    id: str
    fields: tuple[str, ...]

    def __iter__(self) -> Iterator[Document]:
        for record in self._dataset.docs_iter():
            yield self._document(record)

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """The documents with these ids, by the document store of ir_datasets, which is built on first use."""
        wanted = sorted(ids)
        documents = map(self._document, self._dataset.docs_store().get_many_iter(wanted)) if wanted else ()
        return {document.id: document for document in documents}

    def fingerprint(self) -> str:
        """A hash of the id that the documents belong to, their number as far as known, and the first of them."""
        import ir_datasets

        owner, count = ir_datasets.docs_parent_id(self.id), self._dataset.docs_count()
        first = [(document.id, document.text) for document in islice(self, 100)]
        return content_hash("ir_datasets", owner, count, self.fields, first)

    @property
    def _dataset(self) -> Any:
        import ir_datasets

        return ir_datasets.load(self.id)

    def _document(self, record: Any) -> Document:
        fields = record._asdict()
        text = joined_fields(fields, self.fields, self.id) if self.fields else record.default_text()
        metadata = {n: v for n, v in metadata_of(fields, self.fields, "doc_id").items() if isinstance(v, PLAIN)}
        if not self.fields:  # the text is ir_datasets' choice: its long parts are not stored twice
            metadata = {n: v for n, v in metadata.items() if not (len(str(v)) > 100 and str(v) in text)}
        return Document(identifier(record.doc_id, self.id, None, "document id"), text, metadata)


def _query(record: Any, dataset_id: str) -> Query:
    parts = record._asdict()
    query_id = identifier(parts.pop("query_id"), dataset_id, None, "query id")
    text = record.default_text() if hasattr(record, "default_text") else parts.get("text", parts.get("title"))
    if not isinstance(text, str):
        raise DataError(dataset_id, f"query {query_id!r} has no text")
    others = {name: value for name, value in parts.items() if isinstance(value, PLAIN) and value != text}
    return Query(query_id, text, metadata=others)


def _scoreddocs(dataset: Any) -> Run:
    scores: dict[str, dict[str, float]] = {}
    for record in dataset.scoreddocs_iter():
        scores.setdefault(str(record.query_id), {})[str(record.doc_id)] = float(record.score)
    return {query_id: ranked(ranking) for query_id, ranking in scores.items()}
