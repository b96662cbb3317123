"""A score for each document of a group, written as JSON (GroupRank, Sun et al., arXiv 2511.11653)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.errors import ConfigError
from rerankbench.rerankers.parsing.scores import group_scores
from rerankbench.rerankers.requests import Answer, Failure, Groupwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class GroupScores(Prompted):
    """The scores that up to `new_tokens` of text state, on the scale `low`..`high`; None for a missing one."""

    answers: ClassVar[type[Groupwise]] = Groupwise
    chunk: ClassVar[int] = 32
    stop: ClassVar[tuple[str, ...]] = ("</answer>",)
    new_tokens: int = 1024
    low: float = 0.0
    high: float = 10.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError("low", f"must be below high={self.high}, got {self.low}")
        if self.prompt.label_style != "numbers":
            raise ConfigError("prompt.label_style", "must be numbers: the scores are keyed by them")

    def answer(self, requests: Sequence[Groupwise]) -> list[Answer | Failure | Repaired]:
        """The scores of each request's documents."""
        return [
            group_scores(text, len(request.candidates), self.low, self.high)
            for request, text in zip(requests, self.written(requests), strict=True)
        ]

    def room(self, request: Groupwise) -> int:
        """What may be generated."""
        return self.new_tokens
