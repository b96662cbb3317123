"""Is the document relevant, after reasoning about it? (Rank1, Weller et al., arXiv 2502.18418)"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.models.lm.language_model import Filled
from rerankbench.rerankers.requests import Answer, Failure, Pointwise, Repaired
from rerankbench.rerankers.scorers.yes_no import YesNo

CLOSE = "</think>"
_SENTENCE = re.compile(r"[.!?](?=\s|$)")


@dataclass(kw_only=True)
class ReasoningRelevance(YesNo):
    """Reasoning of up to `new_tokens` is generated; then the prompt's two labels are scored behind it as in YesNo.

    Reasoning that does not end by itself is cut behind its last whole sentence and closed: such an answer counts as
    repaired ("unfinished reasoning").
    """

    chunk: ClassVar[int] = 32
    stop: ClassVar[tuple[str, ...]] = (CLOSE,)
    new_tokens: int = 1024

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure | Repaired]:
        """One score a request."""
        prompts = [self.filled(request) for request in requests]
        self._check_labels(prompts)
        texts = self.language_model.generate(prompts, self.new_tokens, self.stop)
        closed = [
            self.language_model.extended(prompt, reasoning(text), f"\n{CLOSE}")
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        scores = self.scored(requests, closed)
        return [
            score if CLOSE in text or isinstance(score, Failure) else Repaired(score, "unfinished reasoning")
            for score, text in zip(scores, texts, strict=True)
        ]

    def room(self, request: Pointwise) -> int:
        """What may be generated, and the words that close it."""
        return self.new_tokens + 8

    def _check_labels(self, prompts: Sequence[Filled]) -> None:
        """Find out whether the labels are tokens before the first long answer, not behind it."""
        if not self.usage.forward_passes and prompts:
            closed = self.language_model.extended(prompts[0], "", f"\n{CLOSE}")
            self.language_model.label_scores([closed], self.prompt.labels or ())


def reasoning(text: str) -> str:
    """What stands before the end of the reasoning, up to the last whole sentence where it does not end by itself."""
    before, close, _ = text.partition(CLOSE)
    if not close and (ends := [match.end() for match in _SENTENCE.finditer(before)]):
        before = before[: ends[-1]]
    return before.rstrip()
