"""How likely the query is, given the document (Sachan et al., arXiv 2204.07496)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Answer, Pointwise
from rerankbench.rerankers.scorers.prompted import Prompted


@dataclass(kw_only=True)
class QueryLikelihood(Prompted):
    """Mean log-probability of the query's tokens behind a prompt that shows the document alone; 0 for an empty query.

    No end token is scored. One forward pass, nothing generated.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise

    def __post_init__(self) -> None:
        if "query" in self.prompt.variables:
            raise ConfigError("prompt.messages", "must not show the query: its likelihood is the score")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer]:
        """One mean for each request."""
        prompts = [self.encode_prompt(request) for request in requests]
        scores = self.language_model.log_likelihoods(prompts, [request.query.text for request in requests])
        self.record_exchanges(requests, prompts, scores)
        return list(scores)

    def max_new_tokens(self, request: Pointwise) -> int:
        """Tokens of the query, and one for a space in front of it."""
        model = self.language_model
        return model.tokens(model.encode(self._query_alone, request.query.text, ())) + 1

    @functools.cached_property
    def _query_alone(self) -> Prompt:
        return Prompt(messages=({"content": "{{ query }}"},), raw=True)
