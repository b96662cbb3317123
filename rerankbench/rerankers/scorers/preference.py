"""Which of two documents is better? (PRP, Qin et al., arXiv 2306.17563; duoT5, Pradeep et al., arXiv 2101.05667)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.rerankers.parsing.choice import preference
from rerankbench.rerankers.requests import Answer, Failure, Pairwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted, require_two_labels


@dataclass(kw_only=True)
class Preference(Prompted):
    """Preference for the first document shown; the strategy asks for both orders.

    mode: `likelihood`, the softmax over the prompt's two labels, at the first of them, from one pass; `generate`, 1 or
    0 (½ for a tie) as up to `new_tokens` of generated text name a label.
    """

    answers: ClassVar[type[Pairwise]] = Pairwise
    mode: Literal["likelihood", "generate"] = "likelihood"
    new_tokens: Annotated[int, Ge(1)] = 4

    def __post_init__(self) -> None:
        require_two_labels(self.prompt, "the first document")

    def answer(self, requests: Sequence[Pairwise]) -> Sequence[Answer | Failure | Repaired]:
        """One preference for each request."""
        if self.mode == "generate":
            return super().answer(requests)
        shares = self.label_shares(requests, [self.encode_prompt(request) for request in requests])
        return [share if isinstance(share, Failure) else math.exp(share) for share in shares]

    def read(self, request: Pairwise, text: str) -> float | Failure:
        """1, 0 or ½."""
        return preference(text, self.prompt.labels or ())

    def max_new_tokens(self, request: Pairwise) -> int:
        """`new_tokens`, where text is generated."""
        return self.new_tokens if self.mode == "generate" else 0
