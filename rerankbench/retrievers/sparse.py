"""Learned sparse retrieval: the corpus weighed once, exact search in an inverted index (SPLADE, arXiv 2109.10086)."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from rerankbench.benchmarks.benchmark import Benchmark, Corpus
from rerankbench.errors import ConfigError, key_of
from rerankbench.models.encoders.sparse import SparseEncoder
from rerankbench.models.model import Model
from rerankbench.progress import bar
from rerankbench.retrievers.dense import chunks
from rerankbench.retrievers.top_k import ordered, tie_ranks, top_k
from rerankbench.store import Store, content_hash
from rerankbench.types import Run

log = logging.getLogger("rerankbench")


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """The top k documents by inner product, of those that share a word with the query; the index is kept in the store.

    query_weights: from the `network`, as the documents', or each of the query's tokens its idf or 1 (`tokens`).
    """

    model: Model
    k: Annotated[int, Ge(1)] = 100
    query_weights: Literal["network", "tokens"] = "network"

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Search the corpus, or score the given candidate lists."""
        from scipy import sparse

        key = content_hash("sparse", benchmark.corpus.fingerprint(), self.model.fingerprint)
        folder, reused = store.index(key, lambda path: self._build(benchmark.corpus, path))
        log.info("sparse index %s (%s)", "reused" if reused else "built", folder)
        index = sparse.load_npz(folder / "words.npz")
        ids: list[str] = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        encode = self._encoder.encode if self.query_weights == "network" else self._encoder.encode_tokens
        queries = encode([query.text for query in benchmark.queries])
        rows = {document: row for row, document in enumerate(ids)}
        ties = tie_ranks(ids)
        run: Run = {}
        for query, vector in zip(benchmark.queries, queries, strict=True):
            scores = (_matrix([vector]) @ index).toarray()[0]
            if benchmark.candidates is not None:
                given = [document for document, _ in benchmark.candidates[query.id]]
                run[query.id] = ordered(given, [float(scores[rows[d]]) if d in rows else 0.0 for d in given])
            else:
                best = top_k(scores, self.k, ties, scores > 0)
                run[query.id] = [(ids[row], float(scores[row])) for row in best]
        return run

    def fingerprint(self) -> str:
        """Of the weights and the options."""
        return content_hash("sparse", self.k, self.query_weights, self.model.fingerprint)

    @functools.cached_property
    def _encoder(self) -> SparseEncoder:
        return SparseEncoder(self.model)

    def _build(self, corpus: Corpus, folder: Path) -> None:
        """Write a matrix of words by documents, CSR [V, N], so that a query reads the rows of its own words only."""
        from scipy import sparse

        ids: list[str] = []
        parts: list[Any] = []
        with bar("weigh words") as advance:
            for documents in chunks(corpus):
                ids += [document.id for document in documents]
                parts.append(_matrix(self._encoder.encode([document.text for document in documents])))
                advance(len(documents))
        if not parts:
            raise ConfigError(key_of(self, ""), "the corpus is empty")
        sparse.save_npz(folder / "words.npz", sparse.vstack(parts).T.tocsr(), compressed=False)
        (folder / "ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")


def _matrix(vectors: Sequence[Any]) -> Any:
    """Sparse vectors [V] as the rows of a CSR matrix [N, V]."""
    import numpy as np
    from scipy import sparse

    ends = np.cumsum([0, *(vector.values().numel() for vector in vectors)])
    columns = np.concatenate([vector.indices()[0].numpy() for vector in vectors])
    values = np.concatenate([vector.values().numpy() for vector in vectors])
    return sparse.csr_matrix((values, columns, ends), shape=(len(vectors), len(vectors[0])))
