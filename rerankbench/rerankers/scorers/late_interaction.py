"""Late interaction: each query token's best match among the document's tokens, summed (ColBERT, arXiv 2004.12832)."""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from rerankbench.models.encoders.embedder import Embedder, EmbeddingCache
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.trainable import EmbeddingScorer, in_float32
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded


@dataclass(frozen=True)
class Text:
    """A tokenised text, and whether its punctuation is left out."""

    encoded: Encoded
    skip_punctuation: bool


@dataclass(kw_only=True)
class LateInteraction(EmbeddingScorer):
    """MaxSim: the sum over query tokens of the largest cosine with a document token, at most the query's length.

    The prefixes are the checkpoint's markers. Document tokens that are punctuation are left out, as ColBERT does.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    model: Model
    query_prefix: str = ""
    document_prefix: str = ""
    skip_punctuation: bool = True
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One MaxSim a request."""
        import torch

        queries, documents = self._cache_keys(requests)
        self._embed(queries)
        self._embed(documents)
        scores = [0.0] * len(requests)
        with torch.inference_mode():
            for query, group in groupby(
                sorted(range(len(requests)), key=lambda i: queries[i]), key=lambda i: queries[i]
            ):
                indices = list(group)
                similarity = self._padded_documents([documents[i] for i in indices]) @ self._cache[query].T  # [B, T, Q]
                for index, score in zip(indices, similarity.amax(1).sum(1).tolist(), strict=True):
                    scores[index] = float(score)
        self._cache.trim()
        return scores

    def fingerprint(self) -> str:
        """Of the weights, the prefixes and the punctuation rule."""
        prefixes = self.query_prefix, self.document_prefix
        return content_hash("late_interaction", self.model.fingerprint, *prefixes, self.skip_punctuation)

    @functools.cached_property
    def embedder(self) -> Embedder:
        """The network, loaded on first use."""
        return Embedder(self.model, "mean", self.usage)

    @functools.cached_property
    def punctuation(self) -> set[int]:
        """Ids of the tokens that are punctuation."""
        return {ids[0] for ids in self.embedder.encoder.tokenizer.read(list(string.punctuation)) if len(ids) == 1}

    @functools.cached_property
    def _cache(self) -> EmbeddingCache:
        return EmbeddingCache(capacity=400_000)

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        """See Scorer."""
        for texts in self._cache_keys(requests):
            self._cache.assign_batches(texts)

    def _cache_keys(self, requests: Sequence[Pointwise]) -> tuple[list[str], list[str]]:
        """Queries and documents with a letter in front that says whether punctuation is left out."""
        kind = "d" if self.skip_punctuation else "q"
        queries = [f"q{self.query_prefix}{request.query.text}" for request in requests]
        return queries, [f"{kind}{self.document_prefix}{request.candidate.document.text}" for request in requests]

    def _embed(self, texts: Sequence[str]) -> None:
        for batch in self._cache.missing_batches(texts):
            for text, (vectors, ids) in zip(batch, self.embedder.embed_tokens([t[1:] for t in batch]), strict=True):
                kept = self._kept(ids, text[0] == "d")
                self._cache[text] = vectors[kept] if len(kept) < len(ids) else vectors

    def _padded_documents(self, documents: Sequence[str]) -> torch.Tensor:
        """Document token vectors [B, T, H], padded by repeating a document's first token: the max is unchanged."""
        import torch

        rows = [self._cache[document] for document in documents]
        width = max(len(vectors) for vectors in rows)
        return torch.stack([torch.cat([v, v[:1].expand(width - len(v), -1)]) if len(v) < width else v for v in rows])

    def _kept(self, ids: Sequence[int], skip_punctuation: bool) -> list[int]:
        """The places of the tokens that count; of a text of nothing but punctuation, all."""
        kept = [i for i, token in enumerate(ids) if not (skip_punctuation and token in self.punctuation)]
        return kept or list(range(len(ids)))

    def for_training(self) -> Self:
        """See TrainableScorer. A checkpoint's linear layer (ColBERT's) becomes part of the network."""
        import torch

        scorer = in_float32(self)
        embedder = scorer.embedder
        network = embedder.encoder.network
        if embedder.projection is not None:
            linear = torch.nn.Linear(embedder.projection.shape[1], embedder.projection.shape[0], bias=False)
            linear.weight.data.copy_(embedder.projection)
            network.linear = linear
            embedder.projection = linear.weight
        return scorer

    @property
    def module(self) -> torch.nn.Module:
        """See TrainableScorer."""
        network: torch.nn.Module = self.embedder.encoder.network
        return network

    def inputs(self, requests: Sequence[Pointwise]) -> list[Text]:
        """One input for each distinct query or document: queries first."""
        texts = list(self._positions(requests))
        encoded = self.embedder.inputs([text for _, text in texts])
        return [
            Text(item, is_document and self.skip_punctuation)
            for item, (is_document, _) in zip(encoded, texts, strict=True)
        ]

    def length(self, item: Text) -> int:
        """See TrainableScorer."""
        return len(item.encoded.ids)

    def forward(self, items: Sequence[Text]) -> list[torch.Tensor]:
        """Token vectors [T, H] for each text, without a document's punctuation."""
        vectors = self.embedder.token_vectors([item.encoded for item in items])
        return [row[self._kept(i.encoded.ids, i.skip_punctuation)] for i, row in zip(items, vectors, strict=True)]

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """MaxSim [N]; documents of one query in a row are compared with it together."""
        import torch

        queries, documents = self.embeddings(requests, outputs)
        rows = []
        for _, group in groupby(range(len(requests)), key=lambda i: requests[i].query.id):
            indices = list(group)
            rows.append(max_sim(queries[indices[0]], [documents[i] for i in indices]))
        return torch.cat(rows)

    def embeddings(
        self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """See EmbeddingScorer; an embedding is token vectors [T, H]."""
        positions, count = self._positions(requests), len(requests)
        embeddings = [outputs[positions[text]] for text in self._texts(requests)]
        return embeddings[:count], embeddings[count:]

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """MaxSim [B, D]."""
        import torch

        return torch.stack([max_sim(query, documents) for query in queries])

    def save(self, folder: Path) -> None:
        """See TrainableScorer."""
        from rerankbench.models.encoders.saving import save_network

        encoder = self.embedder.encoder
        save_network(encoder.network, encoder.tokenizer.backend, folder)

    def _texts(self, requests: Sequence[Pointwise]) -> list[tuple[bool, str]]:
        """(whether a document, text with its prefix): all queries, then all documents."""
        queries = [(False, self.query_prefix + request.query.text) for request in requests]
        return queries + [(True, self.document_prefix + request.candidate.document.text) for request in requests]

    def _positions(self, requests: Sequence[Pointwise]) -> dict[tuple[bool, str], int]:
        """The position of each distinct text among the inputs."""
        return {text: position for position, text in enumerate(dict.fromkeys(self._texts(requests)))}


def max_sim(query: torch.Tensor, documents: Sequence[torch.Tensor]) -> torch.Tensor:
    """MaxSim [N] of a query [Q, H] with documents [T, H] each, in float32."""
    import torch

    padded = torch.nn.utils.rnn.pad_sequence([d.float() for d in documents], batch_first=True)
    lengths = torch.tensor([len(d) for d in documents], device=query.device)
    padding = torch.arange(padded.shape[1], device=query.device)[None, :] >= lengths[:, None]
    similarity = (padded @ query.float().T).masked_fill(padding[:, :, None], float("-inf"))
    return similarity.amax(1).sum(1)
