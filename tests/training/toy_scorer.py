"""A small trainable scorer over bags of words, and groups of texts for it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import torch

from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.trainable import EmbeddingScorer
from rerankbench.training.groups import Group
from rerankbench.types import Document, Query

WORDS = ["cat", "dog", "bird", "fish", "tree", "stone", "river", "cloud", "music", "bread", "light", "paper"]


class ToyNetwork(torch.nn.Module):
    """Ids [B, L], padded with 0 -> vectors [B, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(64, 6)
        self.dropout = torch.nn.Dropout(0.3)
        self.linear = torch.nn.Linear(6, 6)
        self.head = torch.nn.Linear(6, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids > 0)[:, :, None]
        pooled = (self.words(ids) * mask).sum(1) / mask.sum(1)
        vectors: torch.Tensor = torch.tanh(self.linear(self.dropout(pooled)))
        return vectors


class ToyScorer(EmbeddingScorer):
    """pairs: query and document are one input, whose vector the head scores; otherwise the dot product of two texts."""

    def __init__(self, pairs: bool, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.pairs, self._network, self.calls = pairs, ToyNetwork().to(dtype), 0

    @property
    def module(self) -> ToyNetwork:
        """See TrainableScorer."""
        return self._network

    def inputs(self, requests: Sequence[Pointwise]) -> list[list[int]]:
        """See TrainableScorer."""
        return [[zlib.crc32(word.encode()) % 63 + 1 for word in text.split()] for text in self._indices(requests)]

    def length(self, item: list[int]) -> int:
        """See TrainableScorer."""
        return len(item)

    def forward(self, items: Sequence[list[int]]) -> list[torch.Tensor]:
        """See TrainableScorer."""
        self.calls += 1
        width = max(map(len, items))
        vectors = self.module(torch.tensor([[*item, *[0] * (width - len(item))] for item in items]))
        return list((self.module.head(vectors).squeeze(-1) if self.pairs else vectors).unbind())

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TrainableScorer."""
        if self.pairs:
            indices = self._indices(requests)
            return torch.stack([outputs[indices[self._pair(request)]] for request in requests])
        queries, documents = self.embeddings(requests, outputs)
        return (torch.stack(queries) * torch.stack(documents)).sum(1)

    def embeddings(
        self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """See EmbeddingScorer."""
        indices = self._indices(requests)
        queries = [outputs[indices[request.query.text]] for request in requests]
        return queries, [outputs[indices[request.candidate.document.text]] for request in requests]

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """See EmbeddingScorer."""
        return torch.stack(list(queries)) @ torch.stack(list(documents)).T

    def _indices(self, requests: Sequence[Pointwise]) -> dict[str, int]:
        """The distinct inputs, each with its index."""
        if self.pairs:
            texts = [self._pair(request) for request in requests]
        else:
            texts = [r.query.text for r in requests] + [r.candidate.document.text for r in requests]
        return {text: index for index, text in enumerate(dict.fromkeys(texts))}

    def _pair(self, request: Pointwise) -> str:
        return f"{request.query.text} | {request.candidate.document.text}"


def toy_groups(*sizes: int, seed: int = 0) -> list[Group]:
    """A group of each size; its first document is relevant, and its last one's text is in every group."""
    draw = random.Random(seed)
    groups = []
    for row, size in enumerate(sizes):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 12))) + f" {row} {i}" for i in range(size)]
        texts[-1] = "the same text in every group"
        groups.append(
            Group(
                query=Query(f"q{row}", f"query {' '.join(draw.choices(WORDS, k=3))} {row}"),
                documents=tuple(Document(f"d{row}-{i}", text) for i, text in enumerate(texts)),
                labels=tuple(float(i == 0) for i in range(size)),
                judged=tuple(i == 0 for i in range(size)),
                ranks=tuple(range(1, size + 1)),
                scores=tuple(1 / (i + 1) for i in range(size)),
                first_stage=(1.0, 0.5, 0.25, 0.2, 0.1),
            )
        )
    return groups
