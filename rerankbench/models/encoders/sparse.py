"""Learned sparse vectors: a weight for every word of the vocabulary (SPLADE, Formal et al., arXiv 2109.10086)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rerankbench.errors import ConfigError
from rerankbench.models.encoders.embedder import json_beside, single_inputs
from rerankbench.models.model import Model
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoder


@dataclass
class SparseEncoder:
    """Weights of vocabulary words: the maximum over the text's tokens of log(1 + relu(logit)) of a masked LM."""

    model: Model
    usage: Usage = field(default_factory=Usage)

    def encode(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """One sparse vector [V] a text, coalesced, float32 on the CPU."""
        inputs = single_inputs(self.encoder, texts, self.encoder.max_length)
        found: dict[int, torch.Tensor] = {}
        for index, weights in self.encoder.run(inputs, self._weights):
            found[index] = weights.cpu().to_sparse().coalesce()
        return [found[index] for index in range(len(texts))]

    def encode_tokens(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """Likewise without the network, for queries: each of a text's tokens weighs its idf, or 1 where none is given.

        The idf is that of the checkpoint's `idf.json`, token → weight (Geng & Ru, arXiv 2411.04403).
        """
        import torch

        weights = self._token_weights
        found = []
        for ids in self.encoder.tokenizer.read(texts):
            own = torch.tensor(sorted(set(ids)), dtype=torch.long)
            found.append(
                torch.sparse_coo_tensor(own[None], weights[own], weights.shape, check_invariants=False).coalesce()
            )
        return found

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The loaded network. Raises ConfigError for a checkpoint whose masked LM head was never trained."""
        from rerankbench.models.encoders.encoder import load_encoder

        encoder, report = load_encoder(self.model, "AutoModelForMaskedLM", self.usage)
        if missing := sorted(report["missing_keys"]):
            raise ConfigError(
                "model.path",
                f"{self.model.location} has no trained masked language model head (missing weights: "
                f"{', '.join(missing[:4])}); model=splade has one",
            )
        return encoder

    @functools.cached_property
    def _token_weights(self) -> torch.Tensor:
        """What each token of a query weighs without the network, [V]."""
        import torch

        backend = self.encoder.tokenizer.backend
        weights = torch.ones(self.encoder.network.config.vocab_size)
        for token, weight in json_beside(self.model, "idf.json").items():
            weights[backend.convert_tokens_to_ids(token)] = float(str(weight))
        return weights

    def _weights(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Tensors [B, T] -> [B, V]. The maximum first: what follows keeps the order, and is V numbers then, not T·V."""
        import torch

        logits = self.encoder.network(**tensors).logits
        logits = logits.masked_fill_(tensors["attention_mask"].unsqueeze(-1) == 0, 0.0)
        return torch.log1p(torch.relu(logits.amax(1).float()))
