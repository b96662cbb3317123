"""Long documents: their passages scored one by one and folded into one score (Dai & Callan, arXiv 1905.09217)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Answer, Failure, Pointwise, Repaired
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.wrappers.wrapper import WrappedScorer, Wrapper
from rerankbench.store import content_hash


@dataclass(frozen=True, kw_only=True)
class Passages(Wrapper):
    """Windows of `words` words, one every `stride` words; the last one ends with the document.

    fold: `max` (MaxP), `first` (FirstP), `sum` (SumP), or `mean` of the `top` best.
    """

    wraps: ClassVar[Any] = Pointwise
    words: Annotated[int, Ge(1)] = 150
    stride: Annotated[int, Ge(1)] = 75
    fold: Literal["max", "first", "sum", "mean"] = "max"
    top: Annotated[int, Ge(1)] = 3

    def __post_init__(self) -> None:
        if self.stride > self.words:
            raise ConfigError("stride", f"must be at most words={self.words}, got {self.stride}")

    def wrap(self, scorer: Scorer) -> PassageScorer:
        """The scorer, asked passage by passage."""
        return PassageScorer(scorer, self)

    def split(self, text: str) -> list[str]:
        """The passages of a text; a text of up to `words` words is one, as it is. `first` needs no more than that."""
        words = text.split()
        if len(words) <= self.words:
            return [text]
        if self.fold == "first":
            return [" ".join(words[: self.words])]
        starts = range(0, len(words) - self.words + self.stride, self.stride)
        return [" ".join(words[start : start + self.words]) for start in starts]

    def fold_scores(self, scores: Sequence[float]) -> float:
        """One score from those of the passages, in the order of the document."""
        if self.fold == "max":
            return max(scores)
        if self.fold == "first":
            return scores[0]
        if self.fold == "sum":
            return math.fsum(scores)
        best = sorted(scores, reverse=True)[: self.top]
        return math.fsum(best) / len(best)


class PassageScorer(WrappedScorer):
    """A pointwise scorer asked passage by passage."""

    answers: ClassVar[Any] = Pointwise

    def __init__(self, scorer: Scorer, passages: Passages) -> None:
        super().__init__(scorer, passages)
        self.passages = passages

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One folded score for each request, of the passages that were answered; a failure if none was."""
        split = [self._split(request) for request in requests]
        inner = iter(self.scorer.answer([part for parts in split for part in parts]))
        answers: list[Answer | Failure] = []
        for parts in split:
            answered = [next(inner) for _ in parts]
            values = [answer.value if isinstance(answer, Repaired) else answer for answer in answered]
            scores = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
            failure = next((answer for answer in answered if isinstance(answer, Failure)), Failure("no answer"))
            answers.append(self.passages.fold_scores(scores) if scores else failure)
        return answers

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        """The inner scorer is given the passages."""
        self.scorer.prepare([part for request in requests for part in self._split(request)])

    def tokens(self, request: Pointwise) -> int | None:
        """Of all passages together."""
        tokens = [self.scorer.tokens(part) for part in self._split(request)]
        known = [one for one in tokens if one is not None]
        return sum(known) if len(known) == len(tokens) else None

    def fingerprint(self) -> str | None:
        """Of the scorer and the way passages are made and folded."""
        inner = self.scorer.fingerprint()
        p = self.passages
        return inner and content_hash("passages", inner, p.words, p.stride, p.fold, p.top)

    def _split(self, request: Pointwise) -> list[Pointwise]:
        """The request for each passage."""
        whole = request.candidate
        return [
            Pointwise(request.query, replace(whole, document=whole.document.with_text(text)))
            for text in self.passages.split(whole.document.text)
        ]
