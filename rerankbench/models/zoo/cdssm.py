"""CDSSM: letter trigrams of each word, a convolution over words, maximum, scaled cosine (Shen et al., CIKM 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.models.zoo.matching import ngrams
from rerankbench.models.zoo.network import Sizes, Text
from rerankbench.models.zoo.trigrams import token_vectors, trigram_layer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class CDSSM:
    """buckets: of the trigram hash. width: of a word's vector. filters: of the convolution over `words` words.

    output: width of the text's vector. gamma: scale of the cosine.
    """

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "none"
    buckets: int = 8192
    width: int = 64
    words: int = 3
    filters: int = 128
    output: int = 64
    gamma: float = 10.0

    def __post_init__(self) -> None:
        for key in ("buckets", "width", "words", "filters", "output"):
            if getattr(self, key) < 1:
                raise ConfigError(key, f"must be at least 1, got {getattr(self, key)}")
        if self.gamma <= 0:
            raise ConfigError("gamma", f"must be positive, got {self.gamma}")

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        import torch

        return {
            "trigrams": trigram_layer(sizes.vocabulary, self.buckets, self.width),
            "convolution": torch.nn.Conv1d(self.width, self.filters, self.words),
            "dense": torch.nn.Linear(self.filters, self.output),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        from torch.nn.functional import cosine_similarity

        return self.gamma * cosine_similarity(self._vector(layers, query), self._vector(layers, document))

    def _vector(self, layers: torch.nn.ModuleDict, text: Text) -> torch.Tensor:
        """[B, output]."""
        words = token_vectors(layers["trigrams"], text.ids, text.mask)
        features = ngrams(layers["convolution"], words, text.mask).tanh()
        # -1 is tanh's own least value: padding is never the maximum, and an empty text is all -1
        best = features.masked_fill(~text.mask.unsqueeze(-1), -1.0).amax(1)
        found: torch.Tensor = layers["dense"](best).tanh()
        return found
