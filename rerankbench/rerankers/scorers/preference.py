"""Which of two documents is better? (PRP, Qin et al., arXiv 2306.17563; duoT5, Pradeep et al., arXiv 2101.05667)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rerankbench.rerankers.parsing.choice import preference
from rerankbench.rerankers.requests import Answer, Failure, Pairwise
from rerankbench.rerankers.scorers.prompted import Prompted, log_share, require_two_labels


@dataclass(kw_only=True)
class Preference(Prompted):
    """Preference for the first document shown; the strategy asks for both orders.

    mode: `likelihood`, the softmax over the prompt's two labels, at the first of them, from one pass; `generate`, 1 or
    0 (½ for a tie) as up to `new_tokens` of generated text name a label.
    """

    answers: ClassVar[type[Pairwise]] = Pairwise
    mode: Literal["likelihood", "generate"] = "likelihood"
    new_tokens: int = 4

    def __post_init__(self) -> None:
        require_two_labels(self.prompt, "the first document")

    def answer(self, requests: Sequence[Pairwise]) -> list[Answer | Failure]:
        """One preference a request."""
        labels = require_two_labels(self.prompt, "the first document")
        if self.mode == "generate":
            return [preference(text, labels) for text in self.written(requests)]
        prompts = [self.filled(request) for request in requests]
        found = self.language_model.label_scores(prompts, labels)
        self.keep(requests, prompts, found)
        shares = [log_share(first, second) for first, second in found]
        return [Failure("no label") if share is None else math.exp(share) for share in shares]

    def room(self, request: Pairwise) -> int:
        """What may be generated."""
        return self.new_tokens if self.mode == "generate" else 0
