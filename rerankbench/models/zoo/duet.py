"""DUET: exact matches by position, and matches of learnt vectors, added (Mitra et al., arXiv 1610.08136)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Interval

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.zoo.matching import exact, ngrams
from rerankbench.models.zoo.network import Sizes, Text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DUET:
    """filters: of every layer. window: tokens of the document over which the distributed part takes the maximum."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]] = "trained"
    filters: Annotated[int, Ge(1)] = 64
    window: Annotated[int, Ge(1)] = 20
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.2

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """See Network. Raises ConfigError for a window longer than the longest document."""
        from torch.nn import Conv1d, Dropout, Linear, Sequential, Tanh

        if self.window > sizes.document:
            problem = f"must be at most max_document={sizes.document}, got {self.window}"
            raise ConfigError(key_of(self, "window"), problem)

        def mlp(width: int) -> Sequential:
            dense = [Linear(width, self.filters), Tanh(), Linear(self.filters, self.filters), Tanh()]
            return Sequential(*dense, Dropout(self.dropout), Linear(self.filters, 1))

        windows = sizes.document - self.window + 1
        return {
            "positions": Linear(sizes.document, self.filters),  # the paper's convolution over whole rows of matches
            "local": mlp(sizes.query * self.filters),
            "query": Conv1d(sizes.embedding, self.filters, 3),
            "query_dense": Linear(self.filters, self.filters),
            "document": Conv1d(sizes.embedding, self.filters, 3),
            "document_dense": Linear(self.filters, self.filters),
            "distributed": mlp(windows * self.filters),
        }

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """See Network."""
        scores: torch.Tensor = _local(layers, query, document) + self._distributed(layers, query, document)
        return scores[:, 0]

    def _distributed(self, layers: Any, query: Text, document: Text) -> torch.Tensor:
        """[B, 1]."""
        from torch.nn.functional import max_pool1d

        asked = layers["query_dense"](_tanh_ngrams(layers["query"], query).amax(1)).tanh()  # [B, F]
        features = _tanh_ngrams(layers["document"], document).transpose(1, 2)
        length = layers["positions"].in_features
        windows = max_pool1d(_widened(features, length, -1.0), self.window, 1).transpose(1, 2)
        begun = _widened(document.mask, length)[:, : windows.shape[1]]  # windows without a token say nothing
        shared = layers["document_dense"](windows).tanh() * asked[:, None] * begun.unsqueeze(-1)
        scores: torch.Tensor = layers["distributed"](shared.flatten(1))
        return scores


def _local(layers: Any, query: Text, document: Text) -> torch.Tensor:
    """[B, 1]."""
    matches = _widened(exact(query, document).float(), layers["positions"].in_features)
    rows = layers["positions"](matches).tanh() * query.mask.unsqueeze(-1)
    scores: torch.Tensor = layers["local"](_widened(rows.flatten(1), layers["local"][0].in_features))
    return scores


def _tanh_ngrams(layer: Any, text: Text) -> torch.Tensor:
    """[B, T, F], -1 in padding: tanh's least value, so that it is never a maximum."""
    return ngrams(layer, text.vectors, text.mask).tanh().masked_fill(~text.mask.unsqueeze(-1), -1.0)


def _widened(tensor: torch.Tensor, width: int, value: float = 0.0) -> torch.Tensor:
    """With the value at the end of the last dimension."""
    from torch.nn.functional import pad

    return pad(tensor, (0, width - tensor.shape[-1]), value=value)
