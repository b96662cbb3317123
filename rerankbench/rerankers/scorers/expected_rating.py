"""Graded relevance: the labels of a scale, each with its value (Zhuang et al., arXiv 2310.14122)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.models.lm.language_model import Filled
from rerankbench.rerankers.requests import Answer, Failure, Pointwise
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class ExpectedRating(Prompted):
    """mode: `expected`, Σ p·value with p the softmax over the labels; `peak`, the log-likelihood of the top label.

    labels: `token`, one token each, all of them read from one pass; `whole`, labels of any length, a pass each.
    The top label is the one of the highest value.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    mode: Literal["expected", "peak"] = "expected"
    labels: Literal["token", "whole"] = "token"

    def __post_init__(self) -> None:
        labels = [label.strip() for label in self.prompt.labels or ()]
        if len(labels) < 2 or self.prompt.values is None:
            raise ConfigError("prompt.labels", "must be at least two, with a number for each in prompt.values")
        if self.labels == "whole" and (
            pair := next(((a, b) for a in labels for b in labels if a != b and b.startswith(a)), None)
        ):
            raise ConfigError("prompt.labels", f"{pair[0]!r} begins {pair[1]!r}, so it would take its likelihood, too")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One rating a request; a failure where the model does not tell all labels."""
        prompts = [self.filled(request) for request in requests]
        found = self._log_likelihoods(prompts)
        self.keep(requests, prompts, found)
        ratings: list[Answer | Failure] = []
        for scores in found:
            known = [score for score in scores if score is not None]
            ratings.append(self._rating(known) if len(known) == len(scores) else Failure("no label"))
        return ratings

    def room(self, request: Pointwise) -> int:
        """Whole labels stand behind the prompt; a label has no more tokens than bytes."""
        return 0 if self.labels == "token" else max(len(label.encode()) for label in self.prompt.labels or ()) + 1

    def _log_likelihoods(self, prompts: Sequence[Filled]) -> list[list[float | None]]:
        labels = [label.strip() for label in self.prompt.labels or ()]
        if self.labels == "token":
            try:
                return self.language_model.label_scores(prompts, labels)
            except ConfigError as error:
                raise ConfigError(error.key, f"{_problem(error)}, or set reranker.scorer.labels=whole") from None
        model = self.language_model
        columns = [model.log_likelihoods(prompts, [label] * len(prompts), total=True) for label in labels]
        return [list(row) for row in zip(*columns, strict=True)]

    def _rating(self, scores: Sequence[float]) -> float:
        values = self.prompt.values or ()
        if self.mode == "peak":
            return scores[max(range(len(values)), key=values.__getitem__)]
        highest = max(scores)
        weights = [math.exp(score - highest) for score in scores]
        return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


def _problem(error: ConfigError) -> str:
    return str(error).removeprefix(f"{error.key}: ")
