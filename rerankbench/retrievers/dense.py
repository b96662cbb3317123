"""Dense retrieval: the corpus embedded once, exact inner product search (DPR, arXiv 2004.04906)."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from rerankbench.benchmarks.benchmark import Benchmark, Corpus
from rerankbench.errors import ConfigError, key_of
from rerankbench.models.encoders.embedder import Embedder
from rerankbench.models.encoders.vector_prf import VectorPRF
from rerankbench.models.model import Model
from rerankbench.progress import bar
from rerankbench.retrievers.top_k import ordered, tie_ranks, top_k
from rerankbench.store import Store, content_hash
from rerankbench.types import Document, Run

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("rerankbench")

CHUNK = 4096
"""Documents embedded at a time: enough to sort by length, few enough to hold."""


@dataclass(frozen=True, kw_only=True)
class Dense:
    """The top k documents by cosine; the embeddings are kept in the store, memory-mapped when searched.

    prf: search twice, the second time with the query moved towards the best of the first; scores: inner products.
    """

    model: Model
    k: Annotated[int, Ge(1)] = 100
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    query_prefix: str = ""
    document_prefix: str = ""
    prf: VectorPRF | None = None

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Search the corpus, or score the given candidate lists."""
        import numpy as np

        key = content_hash("dense", benchmark.corpus.fingerprint(), self._options())
        folder, reused = store.index(key, lambda path: self._build(benchmark.corpus, path))
        log.info("dense index %s (%s)", "reused" if reused else "built", folder)
        index = _Index(
            vectors=np.load(folder / "vectors.npy", mmap_mode="r"),
            ids=json.loads((folder / "ids.json").read_text(encoding="utf-8")),
        )
        queries = self._embedder.embed([self.query_prefix + query.text for query in benchmark.queries]).numpy()
        run: Run = {}
        for query, vector in zip(benchmark.queries, queries, strict=True):
            given = None if benchmark.candidates is None else [d for d, _ in benchmark.candidates[query.id]]
            run[query.id] = index.search(vector, self.k, given)
            if self.prf is not None:
                feedback = index.vectors_of(run[query.id], self.prf.depth)
                run[query.id] = index.search(self.prf.moved(vector, feedback), self.k, given)
        return run

    def fingerprint(self) -> str:
        """Of the weights and the options."""
        return content_hash("dense", self.k, self._options(), *([asdict(self.prf)] if self.prf else []))

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
            for documents in chunks(corpus):
                ids += [document.id for document in documents]
                parts.append(self._embedder.embed([self.document_prefix + d.text for d in documents]).numpy())
                advance(len(documents))
        if not parts:
            raise ConfigError(key_of(self, ""), "the corpus is empty")
        np.save(folder / "vectors.npy", np.concatenate(parts))
        (folder / "ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class _Index:
    """The embeddings [N, H] and the ids [N] of the corpus."""

    vectors: np.ndarray[Any, Any]
    ids: list[str]

    def search(
        self, vector: np.ndarray[Any, Any], k: int, given: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k documents with the largest inner product, or all the given ones; those not in the corpus score -1."""
        if given is None:
            scores: np.ndarray[Any, Any] = self.vectors @ vector
            return [(self.ids[row], float(scores[row])) for row in top_k(scores, k, self._ties)]
        here = [document for document in given if document in self._rows]
        found = self.vectors[[self._rows[document] for document in here]] @ vector
        known = dict(zip(here, found.tolist(), strict=True))
        return ordered(given, [known.get(document, -1.0) for document in given])

    def vectors_of(self, ranking: Sequence[tuple[str, float]], depth: int) -> np.ndarray[Any, Any]:
        """The embeddings [≤ depth, H] of the best of a ranking."""
        here = [self._rows[document] for document, _ in ranking if document in self._rows]
        found: np.ndarray[Any, Any] = self.vectors[here[:depth]]
        return found

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        return {document: row for row, document in enumerate(self.ids)}

    @functools.cached_property
    def _ties(self) -> np.ndarray[Any, Any]:
        return tie_ranks(self.ids)


def chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
