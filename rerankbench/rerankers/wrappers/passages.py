"""Long documents: their passages scored one by one and folded into one score (Dai & Callan, arXiv 1905.09217)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Answer, Failure, Pointwise, Repaired, Request, Scorer
from rerankbench.store import content_hash
from rerankbench.types import Candidate, Document
from rerankbench.usage import Usage


@dataclass(frozen=True, kw_only=True)
class Passages:
    """Windows of `words` words, one every `stride` words; the last one ends with the document.

    fold: `max` (MaxP), `first` (FirstP), `sum` (SumP), or `mean` of the `top` best.
    """

    words: int = 150
    stride: int = 75
    fold: Literal["max", "first", "sum", "mean"] = "max"
    top: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.words:
            raise ConfigError("stride", f"must lie in 1..words={self.words}, got {self.stride}")
        if self.top < 1:
            raise ConfigError("top", f"must be at least 1, got {self.top}")

    def split(self, text: str) -> list[str]:
        """The passages of a text; a text of up to `words` words is one, as it is. `first` needs no more than that."""
        words = text.split()
        if len(words) <= self.words:
            return [text]
        if self.fold == "first":
            return [" ".join(words[: self.words])]
        starts = range(0, len(words) - self.words + self.stride, self.stride)
        return [" ".join(words[start : start + self.words]) for start in starts]

    def folded(self, scores: Sequence[float]) -> float:
        """One score from those of the passages, in the order of the document."""
        if self.fold == "max":
            return max(scores)
        if self.fold == "first":
            return scores[0]
        if self.fold == "sum":
            return math.fsum(scores)
        best = sorted(scores, reverse=True)[: self.top]
        return math.fsum(best) / len(best)


class PassageScorer:
    """A pointwise scorer asked passage by passage."""

    answers: ClassVar[Any] = Pointwise

    def __init__(self, scorer: Scorer, passages: Passages) -> None:
        self.scorer = scorer
        self.passages = passages
        self.usage: Usage = scorer.usage
        if scorer.answers not in (Pointwise, Request):
            raise ConfigError("passages", "are for pointwise scorers")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One folded score a request, of the passages that were answered; a failure if none was."""
        split = [self._parts(request) for request in requests]
        found = iter(self.scorer.answer([part for parts in split for part in parts]))
        answers: list[Answer | Failure] = []
        for own in split:
            parts = [next(found) for _ in own]
            plain = [part.value if isinstance(part, Repaired) else part for part in parts]
            scores = [score for score in plain if isinstance(score, int | float) and math.isfinite(score)]
            failure = next((part for part in parts if isinstance(part, Failure)), Failure("no answer"))
            answers.append(self.passages.folded(scores) if scores else failure)
        return answers

    def _parts(self, request: Pointwise) -> list[Pointwise]:
        """The request about each passage."""
        whole = request.candidate
        texts = self.passages.split(whole.document.text)
        return [
            Pointwise(request.query, Candidate(Document(whole.document.id, text), whole.rank, whole.score))
            for text in texts
        ]

    @property
    def transcript(self) -> Any:
        """The inner scorer's, where it has one."""
        return self.scorer.transcript  # type: ignore[attr-defined]

    @transcript.setter
    def transcript(self, add: Any) -> None:
        self.scorer.transcript = add  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        """What only some scorers have (`model`, `chunk`, `tokens`, `prepare`), as the inner one has it."""
        found = getattr(self.scorer, name)
        if name == "tokens":
            return lambda request: sum(map(found, self._parts(request)))
        if name == "prepare":
            return lambda requests: found([part for request in requests for part in self._parts(request)])
        return found

    def fingerprint(self) -> str | None:
        """Of the scorer and the way passages are made and folded."""
        inner = self.scorer.fingerprint()
        p = self.passages
        return inner and content_hash("passages", inner, p.words, p.stride, p.fold, p.top)
