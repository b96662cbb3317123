"""Dense retrieval: the corpus embedded once, exact inner product search (DPR, arXiv 2004.04906)."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rerankbench.benchmarks.benchmark import Benchmark, Corpus
from rerankbench.errors import ConfigError
from rerankbench.models.embedder import Embedder
from rerankbench.models.model import Model
from rerankbench.progress import bar
from rerankbench.retrievers.top_k import ordered, tie_places, top_k
from rerankbench.store import Store, content_hash
from rerankbench.types import Document, Run

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("rerankbench")

CHUNK = 4096
"""Documents embedded at a time: enough to sort by length, few enough to hold."""


@dataclass(frozen=True, kw_only=True)
class Dense:
    """The top k documents by cosine; the embeddings are kept in the store, memory-mapped when searched."""

    model: Model
    k: int = 100
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    query_prefix: str = ""
    document_prefix: str = ""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError("retriever.k", f"must be at least 1, got {self.k}")

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Search the corpus, or score the given candidate lists."""
        import numpy as np

        key = content_hash("dense", benchmark.corpus.fingerprint(), self._options())
        folder, reused = store.index(key, lambda path: self._build(benchmark.corpus, path))
        log.info("dense index %s (%s)", "reused" if reused else "built", folder)
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        ids: list[str] = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        queries = self._embedder.embed([self.query_prefix + query.text for query in benchmark.queries]).numpy()
        rows = {document: row for row, document in enumerate(ids)}
        places = tie_places(ids)
        run: Run = {}
        for query, vector in zip(benchmark.queries, queries, strict=True):
            if benchmark.candidates is not None:
                given = [document for document, _ in benchmark.candidates[query.id]]
                found = vectors[[rows[d] for d in given if d in rows]] @ vector
                known = dict(zip([d for d in given if d in rows], found.tolist(), strict=True))
                run[query.id] = ordered(given, [known.get(d, -1.0) for d in given])
            else:
                scores: np.ndarray[Any, Any] = vectors @ vector
                run[query.id] = [(ids[row], float(scores[row])) for row in top_k(scores, self.k, places)]
        return run

    def fingerprint(self) -> str:
        """Of the weights and the options."""
        return content_hash("dense", self.k, self._options())

    def _options(self) -> list[str]:
        return [self.model.fingerprint, self.pooling, self.query_prefix, self.document_prefix]

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self.model, self.pooling)

    def _build(self, corpus: Corpus, folder: Path) -> None:
        import numpy as np

        ids: list[str] = []
        parts: list[np.ndarray[Any, Any]] = []
        with bar("embed") as advance:
            for documents in _chunks(corpus):
                ids += [document.id for document in documents]
                parts.append(self._embedder.embed([self.document_prefix + d.text for d in documents]).numpy())
                advance(len(documents))
        if not parts:
            raise ConfigError("benchmark", "the corpus is empty")
        np.save(folder / "vectors.npy", np.concatenate(parts))
        (folder / "ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")


def _chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
