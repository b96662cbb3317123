"""CDSSM: letter trigrams of each word, a convolution over words, maximum, scaled cosine (Shen et al., CIKM 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

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
    buckets: Annotated[int, Ge(1)] = 8192
    width: Annotated[int, Ge(1)] = 64
    words: Annotated[int, Ge(1)] = 3
    filters: Annotated[int, Ge(1)] = 128
    output: Annotated[int, Ge(1)] = 64
    gamma: Annotated[float, Gt(0)] = 10.0

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
        # -1 is tanh's least value: padding is never the maximum, and an empty text is all -1
        best = features.masked_fill(~text.mask.unsqueeze(-1), -1.0).amax(1)
        vectors: torch.Tensor = layers["dense"](best).tanh()
        return vectors
