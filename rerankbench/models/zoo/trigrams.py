"""Word hashing: a token as its bag of letter trigrams, hashed into buckets (Huang et al., CIKM 2013)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def trigrams(token: str) -> list[str]:
    """The letter trigrams of `#token#`; a word piece that continues a word has no `#` in front."""
    continues = token.startswith("##")
    word = token.removeprefix("##").lstrip("▁Ġ").lower()
    marked = f"{word}#" if continues else f"#{word}#"
    return [marked[i : i + 3] for i in range(max(1, len(marked) - 2))]


def trigram_layer(vocabulary: tuple[str, ...], buckets: int, width: int) -> torch.nn.Module:
    """A linear layer on trigram counts without bias: token ids -> [.., width]. It knows the vocabulary's trigrams."""
    import torch

    bags = [[zlib.crc32(trigram.encode()) % buckets for trigram in trigrams(token)] for token in vocabulary]
    longest = max(map(len, bags))
    layer = torch.nn.EmbeddingBag(buckets + 1, width, mode="sum", padding_idx=buckets)
    torch.nn.init.xavier_uniform_(layer.weight)
    table = torch.tensor([bag + [buckets] * (longest - len(bag)) for bag in bags])
    layer.register_buffer("trigrams", table, persistent=False)
    return layer


def token_vectors(layer: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The layer's output for each token, [B, T] -> [B, T, width]; zero where there is no token."""
    import torch

    # Each token is looked up once, however often it occurs.
    distinct, places = torch.unique(ids, return_inverse=True)
    vectors: torch.Tensor = layer(layer.trigrams[distinct])
    return vectors[places] * mask.unsqueeze(-1)
