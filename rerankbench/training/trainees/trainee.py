"""What training needs of a network: inputs of a batch, a differentiable forward pass, scores, and a way to save it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rerankbench.training.groups import Group

if TYPE_CHECKING:
    import torch


class Trainee(Protocol):
    """The network of a scorer, in float32, loaded to be trained. Made from the scorer: `Trainee(scorer)`.

    The scorer names its trainee in a class attribute: `trainee: ClassVar[str]`, a dotted name.
    """

    network: torch.nn.Module
    """What is trained and saved. All trainable parameters live in it."""

    def inputs(self, groups: Sequence[Group]) -> list[Any]:
        """The distinct inputs that these groups need (pairs, or texts), tokenised and cut to fit."""
        ...

    def length(self, item: Any) -> int:
        """Tokens of one input, as they count for a batch's size."""
        ...

    def forward(self, items: Sequence[Any]) -> list[torch.Tensor]:
        """One output for each input (a score, a vector, token vectors), with gradients; the items fit one batch."""
        ...

    def scores(self, groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """Scores [B, width] float32 of the groups' candidates from the outputs of `inputs(groups)`; padding is 0."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer so that transformers, and sentence-transformers, load them as they are."""
        ...


class EmbeddingTrainee(Trainee, Protocol):
    """A network that embeds query and document apart, so that a whole batch can serve as negatives."""

    def embedded(
        self, groups: Sequence[Group], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The queries' embeddings, and those of all candidates, group after group, from the outputs."""
        ...

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """Scores [B, D] of every query with every document."""
        ...
