"""Conv-KNRM: kernels count soft matches of n-grams with n-grams of any length (Dai et al., WSDM 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import cosine, kernels, ngrams
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ConvKNRM:
    """filters: of each n-gram length, 1 to `longest`. kernels: how many, the first of exact matches.

    log1p: log(1 + count) instead of 0.01 · log(count).
    """

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    filters: Annotated[int, Ge(1)] = 64
    longest: Annotated[int, Ge(1)] = 3
    kernels: Annotated[int, Ge(2)] = 11
    log1p: bool = False

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Conv1d, Linear, ModuleList

        return {
            "convolutions": ModuleList(Conv1d(sizes.embedding, self.filters, n + 1) for n in range(self.longest)),
            "dense": Linear(self.longest**2 * self.kernels, 1),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        import torch

        convolutions = list(layers["convolutions"].children())
        first, second = (
            [ngrams(layer, text.vectors, text.mask).relu() for layer in convolutions] for text in (query, document)
        )
        features = [
            kernels(cosine(one, other), query, document, self.kernels, self.log1p) for one in first for other in second
        ]
        scores: torch.Tensor = layers["dense"](torch.cat(features, 1))[:, 0]
        return scores
