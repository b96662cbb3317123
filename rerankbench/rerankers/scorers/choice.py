"""Which of these documents is the best? (Setwise, Zhuang et al., arXiv 2310.09497)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.rerankers.parsing.choice import choice
from rerankbench.rerankers.requests import Answer, Failure, Repaired, Setwise
from rerankbench.rerankers.scorers.prompted import Prompted, batch_by


@dataclass(kw_only=True)
class Choice(Prompted):
    """The index of one document. Ties go to the one shown first.

    mode: `likelihood`, the document whose label is the likeliest next token, from one pass; `generate`, the one that
    up to `new_tokens` of generated text name.
    """

    answers: ClassVar[type[Setwise]] = Setwise
    mode: Literal["likelihood", "generate"] = "likelihood"
    new_tokens: Annotated[int, Ge(1)] = 4

    def answer(self, requests: Sequence[Setwise]) -> Sequence[Answer | Failure | Repaired]:
        """The index of one document for each request."""
        if self.mode == "likelihood":
            return batch_by(requests, lambda request: len(request.candidates), self._likeliest)
        return super().answer(requests)

    def read(self, request: Setwise, text: str) -> int | Failure:
        """The index of the document that the text names."""
        return choice(text, self.prompt.document_labels(len(request.candidates)))

    def max_new_tokens(self, request: Setwise) -> int:
        """`new_tokens`, where text is generated."""
        return self.new_tokens if self.mode == "generate" else 0

    def _likeliest(self, n: int, requests: list[Setwise]) -> list[Answer | Failure]:
        prompts = [self.encode_prompt(request) for request in requests]
        scores = self.language_model.label_scores(prompts, self.prompt.document_labels(n))
        self.record_exchanges(requests, prompts, scores)
        chosen: list[Answer | Failure] = []
        for row in scores:
            # A label whose score a server does not return is below those whose score it does.
            known = [i for i, score in enumerate(row) if score is not None]
            chosen.append(max(known, key=lambda i: row[i] or 0.0) if known else Failure("no label"))
        return chosen
