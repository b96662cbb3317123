"""Learned sparse vectors: a weight for every word of the vocabulary (SPLADE, Formal et al., arXiv 2109.10086)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.encoders.embedder import json_beside, single_inputs
from rerankbench.models.model import Model
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded, Encoder


@dataclass
class SparseEncoder:
    """Weights of vocabulary words: the maximum over the text's tokens of log(1 + relu(logit)) of a masked LM."""

    model: Model
    usage: Usage = field(default_factory=Usage)

    def encode(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """One sparse vector [V] a text, coalesced, float32 on the CPU."""
        inputs = single_inputs(self.encoder, texts, self.encoder.max_length)
        vectors: dict[int, torch.Tensor] = {}
        for index, weights in self.encoder.run(inputs, self._weights):
            vectors[index] = weights.cpu().to_sparse().coalesce()
        return [vectors[index] for index in range(len(texts))]

    def encode_tokens(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """Likewise without the network, for queries: the weight of a token is its idf, or 1 where none is given.

        The idf is that of the checkpoint's `idf.json`, token → weight (Geng & Ru, arXiv 2411.04403).
        """
        import torch

        weights = self._token_weights
        vectors = []
        for ids in self.encoder.tokenizer.read(texts):
            tokens = torch.tensor(sorted(set(ids)), dtype=torch.long)
            vector = torch.sparse_coo_tensor(tokens[None], weights[tokens], weights.shape, check_invariants=False)
            vectors.append(vector.coalesce())
        return vectors

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The loaded network. Raises ConfigError for a checkpoint whose masked LM head was never trained."""
        from rerankbench.models.encoders.encoder import load_encoder

        encoder, report = load_encoder(self.model, "AutoModelForMaskedLM", self.usage)
        if missing := sorted(report["missing_keys"]):
            raise ConfigError(
                key_of(self.model, "path"),
                f"{self.model.location} has no trained masked language model head (missing weights: "
                f"{', '.join(missing[:4])}); model=splade has one",
            )
        return encoder

    @functools.cached_property
    def _token_weights(self) -> torch.Tensor:
        """The weight of each token of a query without the network, [V]."""
        import torch

        backend = self.encoder.tokenizer.backend
        weights = torch.ones(self.encoder.network.config.vocab_size)
        for token, weight in json_beside(self.model, "idf.json").items():
            weights[backend.convert_tokens_to_ids(token)] = float(str(weight))
        return weights

    def _weights(self, inputs: Sequence[Encoded]) -> torch.Tensor:
        """[B, V]. The maximum first: what follows is monotone, and then computed for V numbers, not T·V."""
        import torch

        tensors = self.encoder.padded(inputs)
        logits = self.encoder.network(**tensors).logits
        logits = logits.masked_fill_(tensors["attention_mask"].unsqueeze(-1) == 0, 0.0)
        return torch.log1p(torch.relu(logits.amax(1).float()))
