"""MatchPyramid: the similarities of all token pairs as an image, convolved (Pang et al., arXiv 1602.06359)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import exact, grid_max, similarity
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class MatchPyramid:
    """filters: 3×3 ones over the cosines and the exact matches. rows, columns: of the pooling grid. hidden: of the
    MLP."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    filters: Annotated[int, Ge(1)] = 16
    rows: Annotated[int, Ge(1)] = 3
    columns: Annotated[int, Ge(1)] = 10
    hidden: Annotated[int, Ge(1)] = 64

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Conv2d, Linear, ReLU, Sequential

        return {
            "convolution": Conv2d(2, self.filters, 3, padding=1),
            "mlp": Sequential(
                Linear(self.filters * self.rows * self.columns, self.hidden), ReLU(), Linear(self.hidden, 1)
            ),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        import torch

        image = torch.stack([similarity(query, document), exact(query, document).float()], 1)
        pooled = grid_max(layers["convolution"](image).relu(), query, document, self.rows, self.columns)
        scores: torch.Tensor = layers["mlp"](pooled.flatten(1))[:, 0]
        return scores
