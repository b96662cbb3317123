"""PACRR: the k best n-gram matches of each query term, with its IDF, combined (Hui et al., arXiv 1704.03940)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from rerankbench.models.zoo.matching import cells, similarity, softmax
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class PACRR:
    """filters: of the n×n convolutions over the similarities, n = 1 to `longest`. k: best matches kept of each."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "frozen"
    filters: Annotated[int, Ge(1)] = 32
    longest: Annotated[int, Ge(1)] = 3
    k: Annotated[int, Ge(1)] = 2
    hidden: Annotated[int, Ge(1)] = 32

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network."""
        from torch.nn import Conv2d, Linear, ModuleList, ReLU, Sequential

        hidden = self.hidden
        features = sizes.query * (self.longest * self.k + 1)
        return {
            "convolutions": ModuleList(Conv2d(1, self.filters, n + 1) for n in range(self.longest)),
            "mlp": Sequential(Linear(features, hidden), ReLU(), Linear(hidden, hidden), ReLU(), Linear(hidden, 1)),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        import torch
        from torch.nn.functional import pad

        image = similarity(query, document)[:, None]
        real = cells(query, document)
        signals = [softmax(idf, query.mask)[:, :, None]]
        for n, convolution in enumerate(layers["convolutions"].children()):
            matches = convolution(pad(image, (0, n, 0, n))).amax(1).relu() * real  # [B, Q, D]
            # Zeros stand in for padding and for what a short document lacks: no match, which none is worse than.
            signals.append(pad(matches, (0, self.k)).topk(self.k, 2).values)
        features = torch.cat(signals, 2).flatten(1)
        mlp: Any = layers["mlp"]
        scores: torch.Tensor = mlp(pad(features, (0, mlp[0].in_features - features.shape[1])))[:, 0]
        return scores
