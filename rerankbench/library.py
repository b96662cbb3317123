"""For applications: any reranker of the configuration, on texts in memory, without a benchmark or a record.

from rerankbench import load_reranker

reranker = load_reranker("yes_no", "model.dtype=float32")
best = reranker.rank("who wrote Faust?", ["Goethe wrote Faust.", "Faust is a river."])[0]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.readers import well_formed
from rerankbench.errors import DataError
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, slots=True)
class Ranked:
    """A reranked document: its index in the list that was given, its id, score and text."""

    index: int
    id: str
    score: float
    text: str


class TextReranker:
    """A reranker whose models load with the first query and stay loaded."""

    def __init__(self, reranker: Any) -> None:
        from rerankbench.rerankers.engine import Engine

        self.reranker = reranker
        self.engine = Engine()

    def rank(self, query: str, documents: Sequence[str | Mapping[str, Any]]) -> list[Ranked]:
        """All the documents, best first; see `rank_all`."""
        return self.rank_all([(query, documents)])[0]

    def rank_all(self, lists: Sequence[tuple[str, Sequence[str | Mapping[str, Any]]]]) -> list[list[Ranked]]:
        """Several lists at once, which is faster than one after another.

        A document is a text, or a mapping with `text`, and `title`, `id` and `score` if there are any; its other fields
        and those of its `metadata` are for scorers that read them. The order given is the first stage's, and so are the
        scores where every document has one. Raises DataError for a document without text, or a repeated id in a list.
        """
        queries, run, documents = [], Run(), dict[str, Document]()
        given: list[list[Document]] = []
        for number, (text, items) in enumerate(lists):
            query, read = Query(str(number), well_formed(text)), read_documents(items)
            scores = [item.get("score") if isinstance(item, Mapping) else None for item in items]
            if not all(isinstance(score, int | float) for score in scores):
                scores = [float(len(read) - i) for i in range(len(read))]
            keys = [f"{number}/{index}" for index in range(len(read))]
            documents.update((key, replace(document, id=key)) for key, document in zip(keys, read, strict=True))
            run[query.id] = sorted(zip(keys, map(float, scores), strict=True), key=lambda pair: -pair[1])  # type: ignore[arg-type]
            queries.append(query)
            given.append(read)
        reranked = self.engine.rerank(self.reranker, queries, run, documents)
        ranked = []
        for query, read in zip(queries, given, strict=True):
            order = [(int(key.partition("/")[2]), score) for key, score in reranked[query.id]]
            ranked.append([Ranked(index, read[index].id, score, read[index].text) for index, score in order])
        return ranked


def load_reranker(name: str, *overrides: str, config_dirs: Sequence[Path | str] = ()) -> TextReranker:
    """The reranker option of this name, changed by overrides as on the command line (`model=smollm2`).

    Raises ConfigError for a wrong name, key or value.
    """
    return _load([f"reranker={name}", *overrides], [Path(folder) for folder in config_dirs])


def _load(overrides: Sequence[str], folders: Sequence[Path]) -> TextReranker:
    from rerankbench.config.build import build
    from rerankbench.config.compose import compose

    composed = compose("eval", overrides, folders)
    return TextReranker(build(composed.parts["reranker"], "reranker", folders=composed.folders))


def read_documents(items: Sequence[str | Mapping[str, Any]]) -> list[Document]:
    """The documents of a list as `rank_all` takes it. Raises DataError for one without text, or a repeated id."""
    documents = [_document(item, index) for index, item in enumerate(items)]
    if len({document.id for document in documents}) < len(documents):
        raise DataError("documents", "an id comes twice in one list")
    return documents


def _document(item: str | Mapping[str, Any], index: int) -> Document:
    from rerankbench.benchmarks.corpus import joined_fields, metadata_of

    if isinstance(item, str):
        return Document(str(index), well_formed(item))
    if not isinstance(item, Mapping):
        raise DataError("documents", f"document {index} must be a text, or an object with text")
    text = joined_fields(item, ("title", "text"), "documents")
    if not text and not any(isinstance(item.get(key), str) for key in ("text", "title")):
        raise DataError("documents", f"document {index} has no text")
    metadata = metadata_of(item, (), "id", "_id", "score")
    return Document(str(item.get("id", item.get("_id", index))), well_formed(text), metadata)
