"""Bi-encoder: query and document embedded apart, cosine similarity (Sentence-BERT, arXiv 1908.10084)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.models.encoders.embedder import Embedder, Memory
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class BiEncoder:
    """Cosine of the pooled embeddings, in [-1, 1]. The prefixes are those the checkpoint was trained with."""

    answers: ClassVar[type[Pointwise]] = Pointwise
    trainee: ClassVar[str] = "rerankbench.training.trainees.bi_encoder.BiEncoderTrainee"
    model: Model
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    query_prefix: str = ""
    document_prefix: str = ""
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One cosine a request; a text that comes again is not embedded again."""
        vectors = self.vectors(self._texts(requests))
        scores = (vectors[: len(requests)] * vectors[len(requests) :]).sum(1)
        return [float(score) for score in scores.tolist()]

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        """See Scorer."""
        self.settle(self._texts(requests))

    def settle(self, texts: Sequence[str]) -> None:
        """New texts, with their prefixes, will be embedded together."""
        self._memory.settle(texts)

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """The embeddings of texts with their prefixes, [N, H]; those not in memory are made together."""
        import torch

        memory = self._memory
        for company in memory.absent(texts):
            for text, vector in zip(company, self.embedder.embed(company), strict=True):
                memory[text] = vector
        found = torch.stack([memory[text] for text in texts])
        memory.trim()
        return found

    def _texts(self, requests: Sequence[Pointwise]) -> list[str]:
        """All queries, then all documents."""
        queries = [self.query_prefix + request.query.text for request in requests]
        return queries + [self.document_prefix + request.candidate.document.text for request in requests]

    def fingerprint(self) -> str:
        """Of the weights, the pooling and the prefixes."""
        return content_hash("bi_encoder", self.model.fingerprint, self.pooling, self.query_prefix, self.document_prefix)

    @functools.cached_property
    def embedder(self) -> Embedder:
        """The network, loaded on first use."""
        return Embedder(self.model, self.pooling, self.usage)

    @functools.cached_property
    def _memory(self) -> Memory:
        return Memory(capacity=500_000)
