"""Samplers that leave out probable false negatives: unjudged documents that score like a positive."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from rerankbench.errors import ConfigError, key_of
from rerankbench.training.negatives import Context, Needs, Uniform


@dataclass(frozen=True, kw_only=True)
class Margin(Uniform):
    """From the top k without documents that score close to the lowest positive (NV-Retriever, arXiv 2407.15831).

    Give one of margin (a document is dropped that scores above positive - margin; TopK-MarginPos) and ratio (above
    ratio * positive; TopK-PercPos; scores must not be negative). scores: of the first stage or of the teacher. A query
    none of whose positives has a score, as where the first stage missed them, has no negatives.
    """

    k: Annotated[int, Ge(1)] = 50
    margin: Annotated[float, Ge(0)] | None = None
    ratio: Annotated[float, Interval(gt=0, le=1)] | None = 0.95
    scores: Literal["first_stage", "teacher"] = "first_stage"

    def __post_init__(self) -> None:
        if (self.margin is None) == (self.ratio is None):
            raise ConfigError("margin", f"give margin or ratio, the other null; got {self.margin} and {self.ratio}")

    def needs(self) -> Needs:
        """The top k, and perhaps a teacher."""
        return Needs(depth=self.k, teacher=self.scores == "teacher")

    def refused(self, context: Context) -> int:
        """How many of the top k score too close to a positive."""
        return len(context.allowed(context.ranked[: self.k])) - len(self.eligible(context))

    def eligible(self, context: Context) -> list[str]:
        """The top k that score clearly below every positive. ConfigError for a ratio of negative scores."""
        scores: Mapping[str, float] = context.teacher or {}
        if self.scores == "first_stage":
            scores = dict(zip(context.ranked, context.scores, strict=True))
        positives = [scores[document] for document in context.positives if document in scores]
        if not positives:
            return []
        highest = self._highest(min(positives))
        return [document for document in context.allowed(context.ranked[: self.k]) if scores[document] <= highest]

    def _highest(self, positive: float) -> float:
        """The highest score that a negative of this positive may have."""
        if self.margin is not None:
            return positive - self.margin
        if positive < 0:
            problem = f"needs scores that are not negative, a positive has {positive:.4g}; use margin, with ratio=null"
            raise ConfigError(key_of(self, "ratio"), problem)
        return (self.ratio or 0.0) * positive


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Of the top k those that the teacher, a judge, puts below the positive, spread over ranks (arXiv 2510.13515).

    A document is dropped as a false negative if its score exceeds that of the lowest positive minus beta. What is left
    is taken in first-stage order in steps of `stride`, cyclically, from a random start.
    """

    k: Annotated[int, Ge(1)] = 50
    beta: Annotated[float, Ge(0)] = 0.01
    stride: Annotated[int, Ge(1)] = 5

    def needs(self) -> Needs:
        """The top k with the judge's scores."""
        return Needs(depth=self.k, teacher=True)

    def refused(self, context: Context) -> int:
        """How many of the top k the judge considers relevant."""
        return self._below().refused(context)

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count`, `stride` ranks apart as far as there are enough."""
        ids = self._below().eligible(context)
        if not ids:
            return []
        cycle = [ids[rank] for first in range(self.stride) for rank in range(first, len(ids), self.stride)]
        start = rng.randrange(len(cycle))
        return [*cycle[start:], *cycle[:start]][:count]

    def _below(self) -> Margin:
        return Margin(k=self.k, margin=self.beta, ratio=None, scores="teacher")
