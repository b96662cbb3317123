"""Cross-encoder: query and document read together by one network with a scoring head (monoBERT, arXiv 1901.04085)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.trainable import TrainableScorer, in_float32
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded, Encoder


@dataclass(kw_only=True)
class CrossEncoder(TrainableScorer):
    """The raw logit of a one-output head, or the log-odds (second minus first logit) of a two-output head.

    The document is cut to fit; the query is cut only where it alone fills the input, and then to half of it.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    model: Model
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One score a request. Raises ConfigError if the checkpoint has no trained scoring head."""
        inputs = self.inputs(requests)
        scores = [0.0] * len(inputs)
        for index, score in self.encoder.run(inputs, self.forward):
            scores[index] = float(score)
        return scores

    def fingerprint(self) -> str:
        """Of the weights, the number format and the input length."""
        return content_hash("cross_encoder", self.model.fingerprint)

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The network, loaded on first use."""
        encoder, report = self._load()
        if missing := sorted(report["missing_keys"]):
            problem = f"{self.model.location} has no trained scoring head (missing weights: {', '.join(missing[:4])})"
            raise ConfigError(key_of(self.model, "path"), f"{problem}; reranker=bi_encoder uses an encoder as it is")
        return encoder

    def for_training(self) -> Self:
        """See TrainableScorer."""
        scorer = in_float32(self)
        encoder, _ = scorer._load()
        backend = encoder.tokenizer.backend
        backend.pad_token = backend.pad_token or backend.eos_token
        encoder.network.config.pad_token_id = backend.pad_token_id  # a decoder's head reads the last token before it
        scorer.encoder = encoder
        return scorer

    @property
    def module(self) -> torch.nn.Module:
        """See TrainableScorer."""
        network: torch.nn.Module = self.encoder.network
        return network

    def inputs(self, requests: Sequence[Pointwise]) -> list[Encoded]:
        """One input for each request."""
        tokenizer = self.encoder.tokenizer
        queries = tokenizer.read([request.query.text for request in requests])
        documents = tokenizer.read([request.candidate.document.text for request in requests])
        longest = self.encoder.max_length - tokenizer.pair.size
        inputs = []
        for query, document in zip(queries, documents, strict=True):
            kept = query if len(query) < longest else query[: longest // 2]
            self.usage.truncated_inputs += len(kept) + len(document) > longest or len(kept) < len(query)
            inputs.append(tokenizer.assemble(tokenizer.pair, kept, document[: longest - len(kept)]))
        return inputs

    def length(self, item: Encoded) -> int:
        """See TrainableScorer."""
        return len(item.ids)

    def forward(self, items: Sequence[Encoded]) -> list[torch.Tensor]:
        """A score for each pair, float32."""
        logits = self.encoder.network(**self.encoder.padded(items)).logits.float()
        return list((logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]).unbind())

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TrainableScorer."""
        import torch

        return torch.stack(list(outputs)).float()

    def save(self, folder: Path) -> None:
        """See TrainableScorer; `sentence_transformers.CrossEncoder` loads it."""
        from rerankbench.models.encoders.saving import save_network

        encoder = self.encoder
        encoder.network.config.sentence_transformers = {
            "activation_fn": "torch.nn.modules.linear.Identity",  # raw logits, as they are scored here
            "version": "5.0.0",
        }
        encoder.tokenizer.backend.chat_template = None  # pairs are read as they are, and so others are to read them
        save_network(encoder.network, encoder.tokenizer.backend, folder)

    def _load(self) -> tuple[Encoder, dict[str, Any]]:
        """The network, with a head of random weights where it has none, and the loading report."""
        from rerankbench.models.encoders.encoder import load_scoring_encoder

        encoder, report = load_scoring_encoder(self.model, self.usage)
        if (outputs := encoder.network.config.num_labels) not in (1, 2):
            raise ConfigError(key_of(self.model, "path"), f"{self.model.location} has {outputs} outputs, not 1 or 2")
        return encoder, report
