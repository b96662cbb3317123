"""aNMM-1: weights by similarity value, not by position, and query attention (Yang et al., arXiv 1801.01641)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import histogram, similarity, softmax
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ANMM:
    """bins: of similarity values, whose sums are weighed; the last of exact matches. hidden: of the layer on them."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    bins: Annotated[int, Ge(2)] = 50
    hidden: Annotated[int, Ge(1)] = 16

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Linear, ReLU, Sequential

        return {
            "mlp": Sequential(Linear(self.bins, self.hidden), ReLU(), Linear(self.hidden, 1)),
            "attention": Linear(sizes.embedding, 1, bias=False),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        similarities = similarity(query, document)  # 0 in padding, so it adds nothing to the sums
        terms = layers["mlp"](histogram(similarities, similarities, self.bins))[:, :, 0]
        attention = softmax(layers["attention"](query.vectors)[:, :, 0], query.mask)
        scores: torch.Tensor = (attention * terms).sum(1)
        return scores
