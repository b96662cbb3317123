"""Neural rankers from before the transformers: small networks, trained here (Guo et al., arXiv 1903.06902)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from rerankbench.errors import ConfigError
from rerankbench.models.model import Model
from rerankbench.models.zoo.checkpoint import described, load_ranker
from rerankbench.models.zoo.network import Network
from rerankbench.rerankers.requests import Pointwise
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Tokenizer

    Pair = tuple[list[int], list[int]]


@dataclass(kw_only=True)
class Neural:
    """The score of a network of `rerankbench.models.zoo`, always computed in float32.

    model: the checkpoint that a training left; for a training, any encoder: its tokenizer and input embeddings are
    what the network starts from. max_query, max_document: tokens read of each.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    trainee: ClassVar[str] = "rerankbench.training.trainees.neural.NeuralTrainee"
    model: Model
    network: Network
    max_query: int = 32
    max_document: int = 200
    usage: Usage = field(init=False, default_factory=Usage)

    def __post_init__(self) -> None:
        for key in ("max_query", "max_document"):
            if getattr(self, key) < 1:
                raise ConfigError(key, f"must be at least 1, got {getattr(self, key)}")

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One score a request. Raises ConfigError for a model that is no trained network of the kind configured."""
        import torch

        from rerankbench.batching import token_batches

        pairs = self.inputs(requests)
        lengths = [len(query) + len(document) for query, document in pairs]
        scores = [0.0] * len(pairs)
        for batch in token_batches([max(1, length) for length in lengths], self.model.tokens_per_batch):
            with torch.inference_mode():
                found = self.forward([pairs[i] for i in batch]).tolist()
            width = max(len(pairs[i][0]) for i in batch) + max(len(pairs[i][1]) for i in batch)
            self.usage.forward_passes += 1
            self.usage.prompt_tokens += sum(lengths[i] for i in batch)
            self.usage.padded_tokens += sum(width - lengths[i] for i in batch)
            for index, score in zip(batch, found, strict=True):
                scores[index] = score
        return scores

    def fingerprint(self) -> str:
        """Of the weights, the network's kind and sizes and the lengths."""
        return content_hash(
            "neural", self.model.fingerprint, described(self.network, self.max_query, self.max_document)
        )

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        from rerankbench.models.encoders.encoder import Tokenizer

        return Tokenizer(self.model)

    @functools.cached_property
    def ranker(self) -> torch.nn.Module:
        """The trained network, loaded on first use."""
        return load_ranker(self.model, self.network, self.tokenizer, self.max_query, self.max_document)

    def inputs(self, requests: Sequence[Pointwise]) -> list[Pair]:
        """The token ids of each query and document, cut to fit; cut ones are counted."""
        queries = self.tokenizer.read([request.query.text for request in requests])
        documents = self.tokenizer.read([request.candidate.document.text for request in requests])
        self.usage.truncated_inputs += sum(
            len(query) > self.max_query or len(document) > self.max_document
            for query, document in zip(queries, documents, strict=True)
        )
        return [
            (query[: self.max_query], document[: self.max_document])
            for query, document in zip(queries, documents, strict=True)
        ]

    def forward(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Scores [B] of one batch of inputs, float32."""
        idf = self.ranker.get_buffer("idf")
        q_ids, q_mask = _padded([query for query, _ in pairs], idf.device)
        d_ids, d_mask = _padded([document for _, document in pairs], idf.device)
        scores: torch.Tensor = self.ranker(q_ids, d_ids, q_mask, d_mask, idf[q_ids])
        return scores


def _padded(texts: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, 0 in padding, and the mask, both [B, T]; T is at least 1."""
    import torch

    width = max(1, *map(len, texts))
    lengths = torch.tensor([len(ids) for ids in texts], device=device)
    padded = torch.tensor([ids + [0] * (width - len(ids)) for ids in texts], device=device)
    return padded, torch.arange(width, device=device) < lengths[:, None]
