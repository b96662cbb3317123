"""In what order? The model writes the documents' names, best first (RankGPT, Sun et al., arXiv 2304.09542)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.errors import ConfigError
from rerankbench.rerankers.parsing.order import permutation
from rerankbench.rerankers.requests import Answer, Failure, Listwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class GeneratedPermutation(Prompted):
    """The order that the text states, forgivingly read: what it forgets keeps the current order, behind the rest.

    tokens_per_document: what naming one document may take. extra_tokens: for what stands around the list; thousands
    for a model that reasons first.
    """

    answers: ClassVar[type[Listwise]] = Listwise
    chunk: ClassVar[int] = 32
    tokens_per_document: int = 6
    extra_tokens: int = 16

    def __post_init__(self) -> None:
        if self.tokens_per_document < 1 or self.extra_tokens < 0:
            raise ConfigError("tokens_per_document", "must be at least 1, and extra_tokens at least 0")

    def answer(self, requests: Sequence[Listwise]) -> list[Answer | Failure | Repaired]:
        """One order a request; of its first `top` places where the request wants no more."""
        found: list[Answer | Failure | Repaired] = []
        for request, text in zip(requests, self.written(requests), strict=True):
            n = len(request.candidates)
            found.append(permutation(text, n, self.prompt.document_labels(n), request.top))
        return found

    def room(self, request: Listwise) -> int:
        """What may be generated."""
        named = len(request.candidates) if request.top is None else request.top
        return named * self.tokens_per_document + self.extra_tokens
