"""In what order? The model generates the documents' labels, best first (RankGPT, Sun et al., arXiv 2304.09542)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.rerankers.parsing.order import permutation
from rerankbench.rerankers.requests import Failure, Listwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class GeneratedPermutation(Prompted):
    """The order that the text gives, leniently parsed: documents that it omits follow in their current order.

    tokens_per_document: tokens reserved for each label. extra_tokens: for what surrounds the list; thousands for a
    model that reasons first.
    """

    answers: ClassVar[type[Listwise]] = Listwise
    chunk: ClassVar[int] = 32
    tokens_per_document: Annotated[int, Ge(1)] = 6
    extra_tokens: Annotated[int, Ge(0)] = 16

    def read(self, request: Listwise, text: str) -> list[int] | Failure | Repaired:
        """The order that the text gives; of its first `top` places where the request wants no more."""
        n = len(request.candidates)
        return permutation(text, n, self.prompt.document_labels(n), request.top)

    def max_new_tokens(self, request: Listwise) -> int:
        """Tokens for as many labels as are wanted, and `extra_tokens`."""
        labels = len(request.candidates) if request.top is None else request.top
        return labels * self.tokens_per_document + self.extra_tokens
