"""Bi-encoder: query and document embedded apart, cosine similarity (Sentence-BERT, arXiv 1908.10084)."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from rerankbench.models.encoders.embedder import Embedder, EmbeddingCache
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.trainable import EmbeddingScorer, in_float32
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded


@dataclass(kw_only=True)
class BiEncoder(EmbeddingScorer):
    """Cosine of the pooled embeddings, in [-1, 1]. The prefixes are those the checkpoint was trained with."""

    answers: ClassVar[type[Pointwise]] = Pointwise
    model: Model
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    query_prefix: str = ""
    document_prefix: str = ""
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One cosine a request; a text that comes again is not embedded again."""
        vectors = self.vectors([*self._queries(requests), *self._documents(requests)])
        scores = (vectors[: len(requests)] * vectors[len(requests) :]).sum(1)
        return [float(score) for score in scores.tolist()]

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        """See Scorer."""
        self.assign_batches([*self._queries(requests), *self._documents(requests)])

    def assign_batches(self, texts: Sequence[str]) -> None:
        """New texts, with their prefixes, will be embedded together."""
        self._cache.assign_batches(texts)

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """The embeddings of texts with their prefixes, [N, H]; those not cached are computed together."""
        import torch

        for batch in self._cache.missing_batches(texts):
            for text, vector in zip(batch, self.embedder.embed(batch), strict=True):
                self._cache[text] = vector
        vectors = torch.stack([self._cache[text] for text in texts])
        self._cache.trim()
        return vectors

    def fingerprint(self) -> str:
        """Of the weights, the pooling and the prefixes."""
        return content_hash("bi_encoder", self.model.fingerprint, self.pooling, self.query_prefix, self.document_prefix)

    @functools.cached_property
    def embedder(self) -> Embedder:
        """The network, loaded on first use."""
        return Embedder(self.model, self.pooling, self.usage)

    @functools.cached_property
    def _cache(self) -> EmbeddingCache:
        return EmbeddingCache(capacity=500_000)

    def for_training(self) -> Self:
        """See TrainableScorer."""
        return in_float32(self)

    @property
    def module(self) -> torch.nn.Module:
        """See TrainableScorer."""
        network: torch.nn.Module = self.embedder.encoder.network
        return network

    def inputs(self, requests: Sequence[Pointwise]) -> list[Encoded]:
        """One input for each distinct text: queries first."""
        return self.embedder.inputs(list(self._positions(requests)))

    def length(self, item: Encoded) -> int:
        """See TrainableScorer."""
        return len(item.ids)

    def forward(self, items: Sequence[Encoded]) -> list[torch.Tensor]:
        """An embedding [H] for each text."""
        return list(self.embedder.pooled(items).unbind())

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Cosines [N]."""
        import torch

        queries, documents = self.embeddings(requests, outputs)
        return (torch.stack(queries) * torch.stack(documents)).float().sum(1)

    def embeddings(
        self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """See EmbeddingScorer."""
        positions = self._positions(requests)
        queries = [outputs[positions[text]] for text in self._queries(requests)]
        return queries, [outputs[positions[text]] for text in self._documents(requests)]

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """Cosines [B, D]."""
        import torch

        return torch.stack(list(queries)).float() @ torch.stack(list(documents)).float().T

    def save(self, folder: Path) -> None:
        """See TrainableScorer; `SentenceTransformer` loads it, pooling and prefixes included."""
        from rerankbench.models.encoders.saving import save_network

        encoder, embedder = self.embedder.encoder, self.embedder
        save_network(encoder.network, encoder.tokenizer.backend, folder)
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        mode = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}[embedder.pooling_mode]
        flags = {f"pooling_mode_{name}": name == mode for name in ("mean_tokens", "cls_token", "lasttoken")}
        prompts = {"query": self.query_prefix, "document": self.document_prefix}
        files: dict[str, object] = {
            "modules.json": [
                {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for i, (path, kind) in enumerate(modules)
            ],
            "1_Pooling/config.json": {"word_embedding_dimension": encoder.network.config.hidden_size, **flags},
            "sentence_bert_config.json": {"max_seq_length": embedder.max_length, "do_lower_case": False},
            "config_sentence_transformers.json": {"prompts": prompts, "similarity_fn_name": "cosine"},
        }
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / "2_Normalize").mkdir(exist_ok=True)

    def _queries(self, requests: Sequence[Pointwise]) -> list[str]:
        return [self.query_prefix + request.query.text for request in requests]

    def _documents(self, requests: Sequence[Pointwise]) -> list[str]:
        return [self.document_prefix + request.candidate.document.text for request in requests]

    def _positions(self, requests: Sequence[Pointwise]) -> dict[str, int]:
        """The position of each distinct text, with its prefix, among the inputs."""
        texts = dict.fromkeys([*self._queries(requests), *self._documents(requests)])
        return {text: position for position, text in enumerate(texts)}
