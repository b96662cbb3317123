"""What training needs of a scorer. Inference makes the same calls without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rerankbench.errors import key_of, tell_place
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorer import Scorer
from rerankbench.types import Document

if TYPE_CHECKING:
    import torch


class TrainableScorer(Scorer):
    """A pointwise scorer whose network can be trained."""

    def for_training(self) -> Self:
        """A copy with its network loaded in float32; a network without a scoring head gets a new one from torch's seed.

        Raises ConfigError for a model that cannot be trained.
        """
        raise NotImplementedError

    @property
    def module(self) -> torch.nn.Module:
        """The network that is trained and saved. All trainable parameters live in it."""
        raise NotImplementedError

    def inputs(self, requests: Sequence[Pointwise]) -> list[Any]:
        """The distinct inputs that these requests need (pairs, texts, prompts), tokenised and cut to fit."""
        raise NotImplementedError

    def length(self, item: Any) -> int:
        """Tokens of one input, as they count for a batch's size."""
        raise NotImplementedError

    def forward(self, items: Sequence[Any]) -> list[torch.Tensor]:
        """One output for each input (a score, a vector, token vectors); the items fit one batch."""
        raise NotImplementedError

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """A score for each request, [N] float32, from the outputs of `inputs(requests)`."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer so that transformers, and sentence-transformers, load them as they are."""
        raise NotImplementedError

    def fit(self, documents: Iterable[Document]) -> None:
        """Take from the collection what is not learnt, such as every token's idf; most scorers take nothing."""


class EmbeddingScorer(TrainableScorer):
    """A scorer that embeds query and document apart, so that a whole batch can serve as negatives."""

    def embeddings(
        self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The query's embedding and the document's, for each request, from the outputs of `inputs(requests)`."""
        raise NotImplementedError

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """Scores [B, D] of every query with every document."""
        raise NotImplementedError


S = TypeVar("S", bound=TrainableScorer)


def in_float32(scorer: S) -> S:
    """A copy of a scorer (a dataclass with a `model`) that will load its network in float32."""
    model = replace(scorer.model, dtype="float32")  # type: ignore[attr-defined]
    tell_place(model, key_of(scorer.model, ""))  # type: ignore[attr-defined]
    copy: S = replace(scorer, model=model)  # type: ignore[type-var]
    tell_place(copy, key_of(scorer, ""))
    return copy
