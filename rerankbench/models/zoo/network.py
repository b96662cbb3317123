"""What a neural ranker is: layers, and how they score one query with one document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sizes:
    """What layers must fit: the vocabulary's tokens as strings, the width of the embeddings, the longest inputs."""

    vocabulary: tuple[str, ...]
    embedding: int
    query: int
    document: int


@dataclass(frozen=True)
class Text:
    """A batch of texts. ids: [B, T]. mask: [B, T] bool, True for the real tokens, which come first.

    vectors: embeddings [B, T, H], zero where there is no token; H is 0 for a network that reads no embeddings.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    vectors: torch.Tensor


class Network(Protocol):
    """A configured network; a frozen dataclass whose fields are its sizes."""

    embeddings: ClassVar[Literal["trained", "frozen", "none"]]
    """Whether it reads token embeddings, and whether they learn."""

    def layers(self, sizes: Sizes) -> dict[str, torch.nn.Module]:
        """The parts that learn, with fresh weights from torch's global generator."""
        ...

    def score(self, layers: torch.nn.ModuleDict, query: Text, document: Text, idf: torch.Tensor) -> torch.Tensor:
        """Scores [B], unbounded. idf: of the query's tokens, [B, Q], anything in padding, which has no influence."""
        ...
