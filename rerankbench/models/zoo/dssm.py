"""DSSM: bags of letter trigrams through one shared tower, scaled cosine (Huang et al., CIKM 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from rerankbench.models.zoo.network import Sizes, Text
from rerankbench.models.zoo.trigrams import token_vectors, trigram_layer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DSSM:
    """buckets: of the trigram hash. hidden, output: of the tower's two tanh layers. gamma: scale of the cosine."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "none"
    buckets: Annotated[int, Ge(1)] = 8192
    hidden: Annotated[int, Ge(1)] = 128
    output: Annotated[int, Ge(1)] = 64
    gamma: Annotated[float, Gt(0)] = 10.0

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        import torch

        return {
            "trigrams": trigram_layer(sizes.vocabulary, self.buckets, self.hidden),
            "tower": torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(self.hidden, self.output), torch.nn.Tanh()),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        from torch.nn.functional import cosine_similarity

        first, second = (
            layers["tower"](token_vectors(layers["trigrams"], text.ids, text.mask).sum(1)) for text in (query, document)
        )
        return self.gamma * cosine_similarity(first, second)
