"""In what order? By the likelihoods of the documents' letters as the first token (FIRST, arXiv 2406.15657)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Answer, Failure, Listwise, Repaired
from rerankbench.rerankers.scorers.prompted import Prompted, batch_by


@dataclass(kw_only=True)
class FirstToken(Prompted):
    """All letters scored from the logits of one pass, up to 26 documents; ties keep the order shown.

    Counts as one generated token for each window (Reddy et al., FIRST, arXiv 2406.15657).
    """

    answers: ClassVar[type[Listwise]] = Listwise

    def __post_init__(self) -> None:
        if self.prompt.label_style != "letters":
            # Of numbers, "1" would be the beginning of "10".
            raise ConfigError("prompt.label_style", "must be letters: each document needs a token of its own")

    def answer(self, requests: Sequence[Listwise]) -> list[Answer | Failure | Repaired]:
        """One order for each request."""
        return batch_by(requests, lambda request: len(request.candidates), self._ordered)

    def _ordered(self, n: int, requests: list[Listwise]) -> list[Answer | Failure | Repaired]:
        prompts = [self.encode_prompt(request) for request in requests]
        scores = self.language_model.label_scores(prompts, self.prompt.document_labels(n))
        self.usage.generated_tokens += len(requests)
        self.record_exchanges(requests, prompts, scores)
        return [_order(row, request.top) for row, request in zip(scores, requests, strict=True)]


def _order(scores: Sequence[float | None], top: int | None) -> Answer | Failure | Repaired:
    """Indices by score, the first `top` of them in front; letters of unknown score keep their order."""
    known = [(index, score) for index, score in enumerate(scores) if score is not None]
    if not known:
        return Failure("no label")
    best = [index for index, _ in sorted(known, key=lambda pair: -pair[1])][:top]
    order = [*best, *(index for index in range(len(scores)) if index not in best)]
    return order if len(known) == len(scores) else Repaired(order, "missing")
