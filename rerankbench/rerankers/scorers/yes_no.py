"""Yes or no: is the document relevant? The log-probability of "yes" (Nogueira et al., arXiv 2003.06713; and others)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.models.lm.language_model import Filled
from rerankbench.rerankers.requests import Answer, Failure, Pointwise
from rerankbench.rerankers.scorers.prompted import Prompted, log_share, require_two_labels


@dataclass(kw_only=True)
class YesNo(Prompted):
    """Log of the softmax over the prompt's two labels, at the first of them; in (-inf, 0].

    The logarithm keeps apart what probabilities near 0 and 1 would tie. One forward pass, nothing generated.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    trainee: ClassVar[str] = "rerankbench.training.trainees.yes_no.YesNoTrainee"

    def __post_init__(self) -> None:
        require_two_labels(self.prompt, "a relevant document")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One score a request; a failure where the model does not tell both labels."""
        return self.scored(requests, [self.filled(request) for request in requests])

    def scored(self, requests: Sequence[Pointwise], prompts: Sequence[Filled]) -> list[float | Failure]:
        """The score that each prompt gives."""
        found = self.language_model.label_scores(prompts, self.prompt.labels or ())
        self.keep(requests, prompts, found)
        scores = [log_share(yes, no) for yes, no in found]
        return [Failure("no label") if score is None else score for score in scores]
