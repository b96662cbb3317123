"""Which of these documents is the best? (Setwise, Zhuang et al., arXiv 2310.09497)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rerankbench.rerankers.parsing.choice import choice
from rerankbench.rerankers.requests import Answer, Failure, Setwise
from rerankbench.rerankers.scorers.prompted import Prompted, together


@dataclass(kw_only=True)
class Choice(Prompted):
    """mode: `likelihood`, the document whose label is the likeliest next token, from one pass; `generate`, the one that
    up to `new_tokens` of generated text name. Ties go to the one shown first.
    """

    answers: ClassVar[type[Setwise]] = Setwise
    mode: Literal["likelihood", "generate"] = "likelihood"
    new_tokens: int = 4

    def answer(self, requests: Sequence[Setwise]) -> list[Answer | Failure]:
        """The index of one document a request."""
        if self.mode == "likelihood":
            return together(requests, lambda request: len(request.candidates), self._likeliest)
        return [
            choice(text, self.prompt.document_labels(len(request.candidates)))
            for request, text in zip(requests, self.written(requests), strict=True)
        ]

    def room(self, request: Setwise) -> int:
        """What may be generated."""
        return self.new_tokens if self.mode == "generate" else 0

    def _likeliest(self, n: int, requests: list[Setwise]) -> list[Answer | Failure]:
        prompts = [self.filled(request) for request in requests]
        found = self.language_model.label_scores(prompts, self.prompt.document_labels(n))
        self.keep(requests, prompts, found)
        chosen: list[Answer | Failure] = []
        for scores in found:
            # A label that a server does not tell is below those that it does.
            known = [i for i, score in enumerate(scores) if score is not None]
            chosen.append(max(known, key=lambda i: scores[i] or 0.0) if known else Failure("no label"))
        return chosen
