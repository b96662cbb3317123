"""A score for each document of a group, generated as JSON (GroupRank, Sun et al., arXiv 2511.11653)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.rerankers.parsing.scores import group_scores
from rerankbench.rerankers.requests import Failure, Groupwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class GroupScores(Prompted):
    """The scores that up to `new_tokens` of text give, on the scale `low`..`high`; None for a missing one."""

    answers: ClassVar[type[Groupwise]] = Groupwise
    chunk: ClassVar[int] = 32
    stop: ClassVar[tuple[str, ...]] = ("</answer>",)
    new_tokens: Annotated[int, Ge(1)] = 1024
    low: float = 0.0
    high: float = 10.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError("low", f"must be below high={self.high}, got {self.low}")
        if self.prompt.label_style != "numbers":
            raise ConfigError("prompt.label_style", "must be numbers: the scores are keyed by them")

    def read(self, request: Groupwise, text: str) -> list[float | None] | Failure | Repaired:
        """The scores that the text gives the request's documents."""
        return group_scores(text, len(request.candidates), self.low, self.high)

    def max_new_tokens(self, request: Groupwise) -> int:
        """`new_tokens`."""
        return self.new_tokens
