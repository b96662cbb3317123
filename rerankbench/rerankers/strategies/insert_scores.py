"""Show a listwise scorer the first-stage scores (InsertRank, Seetharaman et al., arXiv 2506.14086)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Listwise, Rounds, Strategy
from rerankbench.types import Candidate, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class InsertScores:
    """Any listwise strategy, with each document's first-stage score in front of its text.

    scale: the score as it is, from 0 to 1, from 0 to 100, or as a z-score, over the query's whole candidate list (1
    where all are equal). template: has {score} before {text}, so that cutting a long document never cuts its score.
    """

    asks: ClassVar[type[Listwise]] = Listwise
    strategy: Strategy
    scale: Literal["raw", "minmax01", "minmax100", "z"] = "raw"
    template: str = "(BM25 score: {score}) {text}"

    def __post_init__(self) -> None:
        if self.strategy.asks is not Listwise:
            raise ConfigError("strategy", "must be one that asks Listwise requests")
        if not 0 <= self.template.find("{score}") < self.template.find("{text}"):
            raise ConfigError("template", f"needs {{score}} and then {{text}}, got {self.template!r}")

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask what the inner strategy asks."""
        scores = self._scaled([candidate.score for candidate in candidates])
        shown = [
            replace(c, document=c.document.with_text(self._text(c.document.text, score)))
            for c, score in zip(candidates, scores, strict=True)
        ]
        ranking = yield from self.strategy.rank(query, shown)
        original = {candidate.document.id: candidate for candidate in candidates}
        return Ranking(tuple(original[c.document.id] for c in ranking.candidates), ranking.scores)

    def _text(self, text: str, score: float) -> str:
        # Not str.format, which would read braces and attributes in a template; the text last, as it may hold {score}.
        return self.template.replace("{score}", f"{score:.3f}").replace("{text}", text)

    def _scaled(self, scores: Sequence[float]) -> Sequence[float]:
        if self.scale == "raw" or not scores:
            return scores
        low, high = min(scores), max(scores)
        if low == high:
            return [1.0] * len(scores)
        if self.scale == "z":
            mean, deviation = fmean(scores), pstdev(scores)
            return [(score - mean) / deviation for score in scores]
        top = 1 if self.scale == "minmax01" else 100
        return [top * (score - low) / (high - low) for score in scores]
