"""Graded relevance: the labels of a scale, each with its value (Zhuang et al., arXiv 2310.14122)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.rerankers.requests import Answer, Failure, Pointwise
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class ExpectedRating(Prompted):
    """mode: `expected`, Σ p·value with p the softmax over the labels; `peak`, the log-likelihood of the top label.

    labels: `token`, one token each, all scored from one pass; `whole`, labels of any length, one pass each.
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
            raise ConfigError("prompt.labels", f"{pair[0]!r} begins {pair[1]!r}, so it would include its likelihood")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One rating for each request; a failure where the model does not return the scores of all labels."""
        prompts = [self.encode_prompt(request) for request in requests]
        scores = self._log_likelihoods(prompts)
        self.record_exchanges(requests, prompts, scores)
        ratings: list[Answer | Failure] = []
        for row in scores:
            known = [score for score in row if score is not None]
            ratings.append(self._rating(known) if len(known) == len(row) else Failure("no label"))
        return ratings

    def max_new_tokens(self, request: Pointwise) -> int:
        """Tokens for a whole label behind the prompt: no more than it has bytes."""
        return 0 if self.labels == "token" else max(len(label.encode()) for label in self.prompt.labels or ()) + 1

    def _log_likelihoods(self, prompts: Sequence[EncodedPrompt]) -> list[list[float | None]]:
        labels = [label.strip() for label in self.prompt.labels or ()]
        if self.labels == "token":
            try:
                return self.language_model.label_scores(prompts, labels)
            except ConfigError as error:
                raise ConfigError(error.key, f"{error.problem}, or set {key_of(self, 'labels')}=whole") from None
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
