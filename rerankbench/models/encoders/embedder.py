"""Text embeddings from an encoder: one vector a text (pooled), or one a token."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cachetools import LRUCache

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.model import Model
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded, Encoder

_POOLING_KEYS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}


@dataclass
class Embedder:
    """Embeds texts with a model; pooling `auto` follows the checkpoint's sentence-transformers files, else the mean."""

    model: Model
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    usage: Usage = field(default_factory=Usage)

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Pooled, L2-normalised embeddings, [N, H] float32 on the CPU."""
        import torch

        vectors: list[torch.Tensor | None] = [None] * len(texts)
        for index, vector in self.encoder.run(self.inputs(texts), self.pooled):
            vectors[index] = vector.cpu()
        return torch.stack([vector for vector in vectors if vector is not None]) if vectors else torch.zeros(0, 0)

    def embed_tokens(self, texts: Sequence[str]) -> list[tuple[torch.Tensor, list[int]]]:
        """For each text the L2-normalised token vectors, [T, H] float32 on the model's device, and the token ids."""
        inputs = self.inputs(texts)
        embedded: list[tuple[torch.Tensor, list[int]] | None] = [None] * len(texts)
        for index, vectors in self.encoder.run(inputs, self.token_vectors):
            embedded[index] = (vectors[: len(inputs[index].ids)].clone(), inputs[index].ids)
        return [item for item in embedded if item is not None]

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The loaded network. Raises ConfigError for one with a decoder: it has no one vector for a text."""
        from rerankbench.models.encoders.encoder import load_encoder

        encoder, report = load_encoder(self.model, "AutoModel", self.usage)
        if encoder.network.config.is_encoder_decoder:
            kind = encoder.network.config.model_type
            raise ConfigError(key_of(self.model, "path"), f"{self.model.location} is an encoder-decoder ({kind})")
        self.projection = _projection(encoder, report)
        return encoder

    @functools.cached_property
    def max_length(self) -> int:
        """Tokens a text may have: the model's limit, and the checkpoint's sentence-transformers limit."""
        stated = json_beside(self.model, "sentence_bert_config.json").get("max_seq_length")
        limit = self.encoder.max_length
        return min(limit, stated) if isinstance(stated, int) and not self.model.max_length else limit

    @functools.cached_property
    def pooling_mode(self) -> str:
        """`mean`, `cls` or `last`."""
        if self.pooling != "auto":
            return self.pooling
        stated = json_beside(self.model, "1_Pooling/config.json")
        modes = [mode for key, mode in _POOLING_KEYS.items() if stated.get(key)]
        return modes[0] if modes else "mean"

    def inputs(self, texts: Sequence[str]) -> list[Encoded]:
        """Texts as the network reads them, cut to fit."""
        return single_inputs(self.encoder, texts, self.max_length)

    def pooled(self, inputs: Sequence[Encoded]) -> torch.Tensor:
        """L2-normalised embeddings [B, H] of one batch, float32."""
        import torch

        tensors = self.encoder.padded(inputs)
        states = self.encoder.network(**tensors).last_hidden_state
        mask = tensors["attention_mask"]
        if self.pooling_mode == "cls":
            vectors = states[:, 0].float()
        elif self.pooling_mode == "last":
            vectors = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1].float()
        else:
            weights = mask.unsqueeze(-1).float()
            vectors = (states.float() * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(vectors, dim=-1)

    def token_vectors(self, inputs: Sequence[Encoded]) -> torch.Tensor:
        """L2-normalised token vectors [B, T, H] of one batch, float32."""
        import torch

        states = self.encoder.network(**self.encoder.padded(inputs)).last_hidden_state
        if self.projection is not None:
            states = states @ self.projection.T
        return torch.nn.functional.normalize(states.float(), dim=-1)


def single_inputs(encoder: Encoder, texts: Sequence[str], limit: int) -> list[Encoded]:
    """Texts as inputs of at most `limit` tokens, special ones included; the encoder's usage counts the cut ones."""
    tokenizer = encoder.tokenizer
    longest = limit - tokenizer.single.size
    token_ids = tokenizer.read(texts)
    encoder.usage.truncated_inputs += sum(len(ids) > longest for ids in token_ids)
    # A network needs at least one token: where a tokenizer adds no special tokens, an empty text is one of padding.
    empty = [] if tokenizer.single.size else [tokenizer.backend.pad_token_id or 0]
    return [tokenizer.assemble(tokenizer.single, ids[:longest] or empty) for ids in token_ids]


def json_beside(model: Model, name: str) -> dict[str, object]:
    """A JSON file beside the weights, from the folder or the hub; empty if there is none."""
    from transformers.utils.hub import cached_file

    try:
        file = cached_file(model.location, name, revision=model.revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return {}
    content = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    return content if isinstance(content, dict) else {}


def _projection(encoder: Encoder, report: dict[str, object]) -> torch.Tensor | None:
    """ColBERT's linear layer [dim, H], which transformers ignores: `linear.weight` in the checkpoint itself."""
    unexpected = report.get("unexpected_keys")
    if not isinstance(unexpected, list | set | tuple) or "linear.weight" not in unexpected:
        return None
    from safetensors import safe_open
    from transformers.utils.hub import cached_file

    file = cached_file(encoder.model.location, "model.safetensors", revision=encoder.model.revision)
    with safe_open(file, framework="pt") as weights:
        linear: torch.Tensor = weights.get_tensor("linear.weight")
    return linear.to(encoder.model.torch_device, encoder.model.torch_dtype)


class EmbeddingCache(LRUCache[str, Any]):
    """Embeddings by text; the least recently used are dropped when more than `capacity` vectors are held.

    A text is always embedded in the same batch, assigned when it is first seen: the last bits of a vector depend on
    the batch that it was computed in, and a run that resumes after a crash must get the vectors of an undisturbed one.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(math.inf, getsizeof=_vectors)  # `trim` drops, between batches
        self.capacity = capacity
        self._batches: dict[str, tuple[str, ...]] = {}

    def assign_batches(self, texts: Iterable[str]) -> None:
        """Those of the texts that are new will be embedded together."""
        new = tuple(text for text in dict.fromkeys(texts) if text not in self._batches)
        self._batches.update(dict.fromkeys(new, new))

    def missing_batches(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The batches to embed so that all the texts are cached."""
        self.assign_batches(texts)
        missing = [self._batches[text] for text in texts if text not in self]
        return list({id(batch): batch for batch in missing}.values())

    def trim(self) -> None:
        """Drop until within capacity; called between batches, so that what a batch needs stays while it runs."""
        while self.currsize > self.capacity:
            self.popitem()


def _vectors(tensor: torch.Tensor) -> int:
    return 1 if tensor.dim() == 1 else len(tensor)
