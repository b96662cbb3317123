"""Learned sparse vectors of query and document, their inner product (SPLADE, Formal et al., arXiv 2109.10086)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar, Literal

from rerankbench.models.encoders.embedder import EmbeddingCache
from rerankbench.models.encoders.sparse import SparseEncoder
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorer import Scorer
from rerankbench.store import content_hash
from rerankbench.usage import Usage


@dataclass(kw_only=True)
class Sparse(Scorer):
    """Σ over vocabulary words of the query's weight times the document's; 0 where they share none.

    query_weights: from the `network`, as the document's, or the idf of each of the query's tokens, else 1 (`tokens`),
    which needs no network (inference-free).
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    model: Model
    query_weights: Literal["network", "tokens"] = "network"
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One inner product a request; a text that comes again is not encoded again."""
        self._embed([request.candidate.document.text for request in requests])
        encode = self._encoder.encode if self.query_weights == "network" else self._encoder.encode_tokens
        queries = list(dict.fromkeys(request.query.text for request in requests))
        vectors = dict(zip(queries, encode(queries), strict=True))
        scores = [0.0] * len(requests)
        for text, group in groupby(sorted(range(len(requests)), key=lambda i: requests[i].query.text),
                                   key=lambda i: requests[i].query.text):  # fmt: skip
            query = vectors[text].to_dense()
            for i in group:
                document = self._cache[requests[i].candidate.document.text]
                scores[i] = float(query[document.indices()[0]] @ document.values())
        self._cache.trim()
        return scores

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        """See Scorer."""
        self._cache.assign_batches(request.candidate.document.text for request in requests)

    def fingerprint(self) -> str:
        """Of the weights and of how queries are weighted."""
        return content_hash("sparse", self.model.fingerprint, self.query_weights)

    def _embed(self, documents: Sequence[str]) -> None:
        for batch in self._cache.missing_batches(documents):
            for text, vector in zip(batch, self._encoder.encode(batch), strict=True):
                self._cache[text] = vector

    @functools.cached_property
    def _encoder(self) -> SparseEncoder:
        return SparseEncoder(self.model, self.usage)

    @functools.cached_property
    def _cache(self) -> EmbeddingCache:
        return EmbeddingCache(capacity=200_000)
