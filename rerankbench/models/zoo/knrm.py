"""KNRM: kernels count soft matches of the query's tokens in the document (Xiong et al., arXiv 1706.06613)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import kernels, similarity
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class KNRM:
    """kernels: how many, the first of exact matches. log1p: log(1 + count) instead of 0.01 · log(count)."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    kernels: Annotated[int, Ge(2)] = 11
    log1p: bool = False

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        import torch

        return {"dense": torch.nn.Linear(self.kernels, 1)}

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        features = kernels(similarity(query, document), query, document, self.kernels, self.log1p)
        scores: torch.Tensor = layers["dense"](features)[:, 0]
        return scores
