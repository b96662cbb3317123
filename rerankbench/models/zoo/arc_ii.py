"""ARC-II: n-grams of both texts added in pairs to an image, 2-D convolutions (Hu et al., arXiv 1503.03244)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import cells, grid_max, ngrams
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ArcII:
    """filters: of the convolutions over 3 tokens. first, second: channels of the two 3×3 convolutions, a 2×2 maximum
    between them. rows, columns: of the grid of the last maximum. hidden: of the MLP."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    filters: Annotated[int, Ge(1)] = 32
    first: Annotated[int, Ge(1)] = 16
    second: Annotated[int, Ge(1)] = 32
    rows: Annotated[int, Ge(1)] = 4
    columns: Annotated[int, Ge(1)] = 8
    hidden: Annotated[int, Ge(1)] = 64

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Conv1d, Conv2d, Linear, ReLU, Sequential

        return {
            "query": Conv1d(sizes.embedding, self.filters, 3),
            "document": Conv1d(sizes.embedding, self.filters, 3, bias=False),
            "first": Conv2d(self.filters, self.first, 3, padding=1),
            "second": Conv2d(self.first, self.second, 3, padding=1),
            "mlp": Sequential(
                Linear(self.second * self.rows * self.columns, self.hidden), ReLU(), Linear(self.hidden, 1)
            ),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        from torch.nn.functional import max_pool2d

        rows = ngrams(layers["query"], query.vectors, query.mask).transpose(1, 2)
        columns = ngrams(layers["document"], document.vectors, document.mask).transpose(1, 2)
        real = cells(query, document)[:, None]
        image = (rows[:, :, :, None] + columns[:, :, None, :]).relu() * real
        image = max_pool2d(layers["first"](image).relu() * real, 2, ceil_mode=True)
        query, document = _halved(query), _halved(document)
        pooled = grid_max(layers["second"](image).relu(), query, document, self.rows, self.columns)
        scores: torch.Tensor = layers["mlp"](pooled.flatten(1))[:, 0]
        return scores


def _halved(text: Text) -> Text:
    return Text(text.ids[:, ::2], text.mask[:, ::2], text.vectors[:, ::2])
