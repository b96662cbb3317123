"""Is the document relevant, after reasoning about it? (Rank1, Weller et al., arXiv 2502.18418)"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.rerankers.parsing.choice import preference
from rerankbench.rerankers.requests import Answer, Failure, Pointwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted, require_two_labels

CLOSE = "</think>"
_SENTENCE = re.compile(r"[.!?](?=\s|$)")


@dataclass(kw_only=True)
class ReasoningRelevance(Prompted):
    """Reasoning of up to `new_tokens` is generated; then the prompt's two labels are scored behind it as in YesNo.

    Reasoning that does not end by itself is truncated to its last whole sentence and closed: such an answer counts as
    repaired ("unfinished reasoning").
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    chunk: ClassVar[int] = 32
    stop: ClassVar[tuple[str, ...]] = (CLOSE,)
    new_tokens: Annotated[int, Ge(1)] = 1024

    def __post_init__(self) -> None:
        require_two_labels(self.prompt, "a relevant document")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure | Repaired]:
        """One score for each request."""
        prompts = [self.encode_prompt(request) for request in requests]
        self._check_labels(prompts)
        texts = self.language_model.generate(prompts, self.new_tokens, self.stop)
        closed = [
            self.language_model.extended(prompt, reasoning(text), f"\n{CLOSE}")
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        scores = self.label_shares(requests, closed)
        return [
            score if CLOSE in text or isinstance(score, Failure) else Repaired(score, "unfinished reasoning")
            for score, text in zip(scores, texts, strict=True)
        ]

    def read(self, request: Pointwise, text: str) -> float | Failure:
        """1 or 0 from a text that names a label itself behind its reasoning, as one does that was not stopped there."""
        return preference(text, self.prompt.labels or ())

    def max_new_tokens(self, request: Pointwise) -> int:
        """`new_tokens`, and the tokens that close the reasoning."""
        return self.new_tokens + 8

    def _check_labels(self, prompts: Sequence[EncodedPrompt]) -> None:
        """Check before the first long answer, not after it, that the labels are tokens."""
        if not self.usage.forward_passes and prompts:
            closed = self.language_model.extended(prompts[0], "", f"\n{CLOSE}")
            self.language_model.label_scores([closed], self.prompt.labels or ())


def reasoning(text: str) -> str:
    """The reasoning without its closing tag; up to its last whole sentence where it does not end by itself."""
    before, close, _ = text.partition(CLOSE)
    if not close and (ends := [match.end() for match in _SENTENCE.finditer(before)]):
        before = before[: ends[-1]]
    return before.rstrip()
