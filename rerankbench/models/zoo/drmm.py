"""DRMM: a histogram of each query term's cosines through an MLP, summed by IDF gates (Guo et al., arXiv 1711.08611)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import cells, histogram, similarity, softmax
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DRMM:
    """bins: of the histogram of log(1 + count), the last one of exact matches. hidden: of the MLP, tanh."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "frozen"
    bins: Annotated[int, Ge(2)] = 30
    hidden: Annotated[int, Ge(1)] = 8

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Linear, Sequential, Tanh

        return {
            "mlp": Sequential(Linear(self.bins, self.hidden), Tanh(), Linear(self.hidden, 1)),
            "gate": Linear(1, 1, bias=False),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        counts = histogram(similarity(query, document), cells(query, document).float(), self.bins)
        terms = layers["mlp"](counts.log1p())[:, :, 0]  # [B, Q]
        gates = softmax(layers["gate"](idf.unsqueeze(-1))[:, :, 0], query.mask)
        scores: torch.Tensor = (gates * terms).sum(1)
        return scores
