"""Which of these documents is the best, after reasoning about it? (Rank-R1, Zhuang et al., arXiv 2503.06034)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.rerankers.parsing.choice import choice
from rerankbench.rerankers.requests import Answer, Failure, Setwise
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class ReasoningChoice(Prompted):
    """The label in <answer></answer>, behind <think></think>; reasoning that takes all `new_tokens` is a failure."""

    answers: ClassVar[type[Setwise]] = Setwise
    chunk: ClassVar[int] = 32
    stop: ClassVar[tuple[str, ...]] = ("</answer>",)
    new_tokens: int = 2048

    def answer(self, requests: Sequence[Setwise]) -> list[Answer | Failure]:
        """The index of one document a request."""
        return [
            choice(text, self.prompt.document_labels(len(request.candidates)))
            for request, text in zip(requests, self.written(requests), strict=True)
        ]

    def room(self, request: Setwise) -> int:
        """What may be generated."""
        return self.new_tokens
