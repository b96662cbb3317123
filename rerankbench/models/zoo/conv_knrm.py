"""Conv-KNRM: kernels count soft matches of n-grams with n-grams of any length (Dai et al., WSDM 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.models.zoo.matching import cosine, kernels, ngrams
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ConvKNRM:
    """filters: of each n-gram length, 1 to `longest`. kernels: how many, the first of exact matches.

    log1p: log(1 + count) in place of 0.01 · log(count).
    """

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    filters: int = 64
    longest: int = 3
    kernels: int = 11
    log1p: bool = False

    def __post_init__(self) -> None:
        for key, least in (("filters", 1), ("longest", 1), ("kernels", 2)):
            if getattr(self, key) < least:
                raise ConfigError(key, f"must be at least {least}, got {getattr(self, key)}")

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
