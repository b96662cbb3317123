"""Cross-encoder: query and document read together by one network with a scoring head (monoBERT, arXiv 1901.04085)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from rerankbench.errors import ConfigError
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded, Encoder


@dataclass(kw_only=True)
class CrossEncoder:
    """The raw logit of a one-output head, or the log-odds (second minus first logit) of a two-output head.

    The document is cut to fit; the query is cut only where it alone fills the input, and then to half of it.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    trainee: ClassVar[str] = "rerankbench.training.trainees.cross_encoder.CrossEncoderTrainee"
    model: Model
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One score a request. Raises ConfigError if the checkpoint has no trained scoring head."""
        inputs = self.inputs(requests)
        scores = [0.0] * len(inputs)
        for index, logits in self.encoder.run(inputs, self.forward):
            scores[index] = float(logits)
        return scores

    def fingerprint(self) -> str:
        """Of the weights, the number format and the input length."""
        return content_hash("cross_encoder", self.model.fingerprint)

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The network, loaded on first use."""
        from rerankbench.models.encoders.encoder import load_scoring_encoder

        encoder, report = load_scoring_encoder(self.model, self.usage)
        if report["missing_keys"]:
            raise ConfigError(
                "model.path",
                f"{self.model.location} has no trained scoring head (missing weights: "
                f"{', '.join(sorted(report['missing_keys'])[:4])}); reranker=bi_encoder uses an encoder as it is",
            )
        if encoder.network.config.num_labels not in (1, 2):
            raise ConfigError(
                "model.path", f"{self.model.location} has {encoder.network.config.num_labels} outputs, not 1 or 2"
            )
        return encoder

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """The network's arguments [B, T] -> scores [B], float32."""
        logits: torch.Tensor = self.encoder.network(**tensors).logits.float()
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]

    def inputs(self, requests: Sequence[Pointwise]) -> list[Encoded]:
        """Each request as the network reads it."""
        tokenizer = self.encoder.tokenizer
        queries = tokenizer.read([request.query.text for request in requests])
        documents = tokenizer.read([request.candidate.document.text for request in requests])
        room = self.encoder.max_length - tokenizer.pair.size
        inputs = []
        for query, document in zip(queries, documents, strict=True):
            kept = query if len(query) < room else query[: room // 2]
            self.usage.truncated_inputs += len(kept) + len(document) > room or len(kept) < len(query)
            inputs.append(tokenizer.assemble(tokenizer.pair, kept, document[: room - len(kept)]))
        return inputs
