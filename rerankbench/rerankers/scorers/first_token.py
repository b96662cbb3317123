"""In what order? By the likelihoods of the documents' letters as the first one named (FIRST, arXiv 2406.15657)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Answer, Failure, Listwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted, together


@dataclass(kw_only=True)
class FirstToken(Prompted):
    """All letters read from the logits of one pass, up to 26 documents; ties keep the order shown.

    Counts as one generated token a window (Reddy et al., FIRST, arXiv 2406.15657).
    """

    answers: ClassVar[type[Listwise]] = Listwise

    def __post_init__(self) -> None:
        if self.prompt.label_style != "letters":
            # Of numbers, "1" would be the beginning of "10".
            raise ConfigError("prompt.label_style", "must be letters: each document needs a token of its own")

    def answer(self, requests: Sequence[Listwise]) -> list[Answer | Failure | Repaired]:
        """One order a request."""
        return together(requests, lambda request: len(request.candidates), self._ordered)

    def _ordered(self, n: int, requests: list[Listwise]) -> list[Answer | Failure | Repaired]:
        labels = self.prompt.document_labels(n)
        prompts = [self.filled(request) for request in requests]
        found = self.language_model.label_scores(prompts, labels)
        self.usage.generated_tokens += len(requests)
        self.keep(requests, prompts, found)
        return [_order(scores, request.top) for scores, request in zip(found, requests, strict=True)]


def _order(scores: Sequence[float | None], top: int | None) -> Answer | Failure | Repaired:
    """Indices by score, the first `top` of them in front; letters that a server does not tell keep their order."""
    known = [(index, score) for index, score in enumerate(scores) if score is not None]
    if not known:
        return Failure("no label")
    best = [index for index, _ in sorted(known, key=lambda pair: -pair[1])][:top]
    order = [*best, *(index for index in range(len(scores)) if index not in best)]
    return order if len(known) == len(scores) else Repaired(order, "missing")
