"""Which of these documents is the best, after reasoning about it? (Rank-R1, Zhuang et al., arXiv 2503.06034)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.rerankers.parsing.choice import choice
from rerankbench.rerankers.requests import Failure, Setwise
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class ReasoningChoice(Prompted):
    """The label in <answer></answer>, behind <think></think>; reasoning that takes all `new_tokens` is a failure."""

    answers: ClassVar[type[Setwise]] = Setwise
    chunk: ClassVar[int] = 32
    stop: ClassVar[tuple[str, ...]] = ("</answer>",)
    new_tokens: Annotated[int, Ge(1)] = 2048

    def read(self, request: Setwise, text: str) -> int | Failure:
        """The index of the document that the text names."""
        return choice(text, self.prompt.document_labels(len(request.candidates)))

    def max_new_tokens(self, request: Setwise) -> int:
        """`new_tokens`."""
        return self.new_tokens
