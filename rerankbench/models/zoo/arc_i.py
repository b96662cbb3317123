"""ARC-I: separate convolutions and pooling for each text, then an MLP on both (Hu et al., arXiv 1503.03244)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import ngrams
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ArcI:
    """blocks: convolutions over 3 tokens, each followed by a maximum of 2; filters: of each. hidden: of the MLP."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    blocks: Annotated[int, Ge(1)] = 2
    filters: Annotated[int, Ge(1)] = 64
    hidden: Annotated[int, Ge(2)] = 64

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Conv1d, Linear, ModuleList, ReLU, Sequential

        widths = [sizes.embedding] + [self.filters] * self.blocks

        def tower() -> ModuleList:
            return ModuleList(Conv1d(widths[i], widths[i + 1], 3) for i in range(self.blocks))

        half = self.hidden // 2
        return {
            "query": tower(),
            "document": tower(),
            "mlp": Sequential(
                Linear(2 * self.filters, self.hidden), ReLU(), Linear(self.hidden, half), ReLU(), Linear(half, 1)
            ),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        import torch

        both = torch.cat([_vector(layers["query"], query), _vector(layers["document"], document)], 1)
        scores: torch.Tensor = layers["mlp"](both)[:, 0]
        return scores


def _vector(tower: torch.nn.Module, text: Text) -> torch.Tensor:
    """[B, filters]. Padding is 0 after each ReLU, the least value there is, so no maximum sees it."""
    from torch.nn.functional import max_pool1d

    vectors, mask = text.vectors, text.mask
    for convolution in tower.children():
        features = ngrams(convolution, vectors, mask).relu()
        vectors = max_pool1d(features.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
        mask = mask[:, ::2]
    return vectors.amax(1)
