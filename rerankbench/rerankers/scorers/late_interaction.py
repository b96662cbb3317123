"""Late interaction: each query token's best match among the document's tokens, summed (ColBERT, arXiv 2004.12832)."""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from rerankbench.models.encoders.embedder import Embedder, Memory
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class LateInteraction:
    """MaxSim: the sum over query tokens of the largest cosine with a document token, at most the query's length.

    The prefixes are the checkpoint's markers. Document tokens that are punctuation are left out, as ColBERT does.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    trainee: ClassVar[str] = "rerankbench.training.trainees.late_interaction.LateInteractionTrainee"
    model: Model
    query_prefix: str = ""
    document_prefix: str = ""
    skip_punctuation: bool = True
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One MaxSim a request."""
        import torch

        queries, documents = self._texts(requests)
        self._remember(queries)
        self._remember(documents)
        scores = [0.0] * len(requests)
        with torch.inference_mode():
            for query, group in groupby(
                sorted(range(len(requests)), key=lambda i: queries[i]), key=lambda i: queries[i]
            ):
                indices = list(group)
                similarity = self._documents(documents, indices) @ self._memory[query].T  # [B, T, Q]
                for index, score in zip(indices, similarity.amax(1).sum(1).tolist(), strict=True):
                    scores[index] = float(score)
        self._memory.trim()
        return scores

    def fingerprint(self) -> str:
        """Of the weights, the prefixes and the punctuation rule."""
        return content_hash(
            "late_interaction",
            self.model.fingerprint,
            self.query_prefix,
            self.document_prefix,
            self.skip_punctuation,
        )

    @functools.cached_property
    def embedder(self) -> Embedder:
        """The network, loaded on first use."""
        return Embedder(self.model, "mean", self.usage)

    @functools.cached_property
    def _memory(self) -> Memory:
        return Memory(capacity=400_000)

    @functools.cached_property
    def punctuation(self) -> set[int]:
        """Ids of the tokens that are punctuation."""
        return {ids[0] for ids in self.embedder.encoder.tokenizer.read(list(string.punctuation)) if len(ids) == 1}

    def _texts(self, requests: Sequence[Pointwise]) -> tuple[list[str], list[str]]:
        """Queries and documents as they are remembered: behind a letter that says whether punctuation is left out."""
        kind = "d" if self.skip_punctuation else "q"
        queries = [f"q{self.query_prefix}{request.query.text}" for request in requests]
        return queries, [f"{kind}{self.document_prefix}{request.candidate.document.text}" for request in requests]

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        """See Scorer."""
        for texts in self._texts(requests):
            self._memory.settle(texts)

    def _remember(self, texts: Sequence[str]) -> None:
        for company in self._memory.absent(texts):
            for text, (vectors, ids) in zip(company, self.embedder.embed_tokens([t[1:] for t in company]), strict=True):
                kept = [i for i, token in enumerate(ids) if not (text[0] == "d" and token in self.punctuation)]
                self._memory[text] = vectors[kept] if 0 < len(kept) < len(ids) else vectors

    def _documents(self, documents: Sequence[str], indices: Sequence[int]) -> torch.Tensor:
        """Document token vectors [B, T, H], padded by repeating a document's own first token: the max is unchanged."""
        import torch

        found = [self._memory[documents[i]] for i in indices]
        width = max(len(vectors) for vectors in found)
        return torch.stack([torch.cat([v, v[:1].expand(width - len(v), -1)]) if len(v) < width else v for v in found])
