"""A bi-encoder whose query is moved towards the documents shown first (vector PRF, Li et al., arXiv 2108.11044)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rerankbench.models.encoders.vector_prf import VectorPRF
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Groupwise
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.store import content_hash
from rerankbench.usage import Usage


@dataclass(kw_only=True)
class FeedbackBiEncoder(Scorer):
    """Inner product of each document with the moved query; the feedback are the first documents of the request.

    Documents have length 1, the moved query has not: with Rocchio a score is alpha · cosine with the query + beta ·
    mean cosine with the feedback.
    """

    answers: ClassVar[type[Groupwise]] = Groupwise
    model: Model
    prf: VectorPRF
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    query_prefix: str = ""
    document_prefix: str = ""
    usage: Usage = field(init=False, default_factory=Usage)
    chunk: ClassVar[int] = 16

    def answer(self, requests: Sequence[Groupwise]) -> list[list[float]]:
        """One score for each document of each request; all texts are embedded together."""
        vectors = self._bi_encoder.vectors(self._texts(requests))
        queries, documents = vectors[: len(requests)], vectors[len(requests) :]
        scores: list[list[float]] = []
        for request, query in zip(requests, queries, strict=True):
            shown, documents = documents[: len(request.candidates)], documents[len(request.candidates) :]
            scores.append((shown @ self.prf.moved(query, shown)).tolist())
        return scores

    def prepare(self, requests: Sequence[Groupwise]) -> None:
        """See Scorer."""
        self._bi_encoder.assign_batches(self._texts(requests))

    def _texts(self, requests: Sequence[Groupwise]) -> list[str]:
        """All queries, then all documents."""
        queries = [self.query_prefix + request.query.text for request in requests]
        return queries + [self.document_prefix + c.document.text for request in requests for c in request.candidates]

    def fingerprint(self) -> str:
        """Of the weights, the feedback and the bi-encoder's options."""
        return content_hash("vector_prf", self.prf, self._bi_encoder.fingerprint())

    @functools.cached_property
    def _bi_encoder(self) -> BiEncoder:
        bi_encoder = BiEncoder(
            model=self.model,
            pooling=self.pooling,
            query_prefix=self.query_prefix,
            document_prefix=self.document_prefix,
        )
        bi_encoder.usage = self.usage
        return bi_encoder
