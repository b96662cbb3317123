"""What all scorers share that ask a language model with a prompt: filling it, its cost, its record."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from rerankbench.errors import ConfigError
from rerankbench.models.endpoint.endpoint import Endpoint
from rerankbench.models.lm.language_model import Filled, LanguageModel
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Listwise, Request
from rerankbench.store import content_hash
from rerankbench.usage import Usage

READING = 2
"""Part of every stored answer's key; raise it when the same text is read otherwise than before."""

R = TypeVar("R", bound=Request)
T = TypeVar("T")


@dataclass(kw_only=True)
class Prompted:
    """A language model and a prompt; each way of reading an answer builds on it.

    `room` is what an answer may take; 0 where nothing is generated. `stop`: texts that end a generated answer.
    """

    model: Model | Endpoint
    prompt: Prompt
    usage: Usage = field(init=False, default_factory=Usage)
    transcript: Callable[[Request, str | None, Any], None] | None = field(init=False, default=None)
    chunk: ClassVar[int] = 256
    stop: ClassVar[tuple[str, ...]] = ()

    @functools.cached_property
    def language_model(self) -> LanguageModel:
        """The model; its network loads with the first question."""
        return self.model.language_model(self.usage)

    def filled(self, request: Request) -> Filled:
        """The prompt that this request becomes. Raises ConfigError, with the query's id, where it does not fit."""
        top = request.top if isinstance(request, Listwise) else None
        texts = [candidate.document.text for candidate in request.candidates]
        try:
            return self.language_model.fill(self.prompt, request.query.text, texts, top, self.room(request))
        except ConfigError as error:
            problem = str(error).removeprefix(f"{error.key}: ")
            raise ConfigError(error.key, f"query {request.query.id!r}: {problem}") from None

    def room(self, request: Any) -> int:
        """Tokens to be kept for the answer to this request."""
        return 0

    def tokens(self, request: Request) -> int:
        """What the request will cost at most: prompt and answer."""
        cut = self.usage.truncated_inputs
        tokens = self.language_model.tokens(self.filled(request)) + self.room(request)
        self.usage.truncated_inputs = cut  # nothing was asked yet
        return tokens

    def written(self, requests: Sequence[Request]) -> list[str]:
        """The generated answers, each with the forced start that it continues."""

        def write(room: int, some: Sequence[Request]) -> list[str]:
            prompts = [self.filled(request) for request in some]
            texts = self.language_model.generate(prompts, room, self.stop)
            self.keep(some, prompts, texts)
            return texts

        # A space is harmless to the parsers, and tokenizers differ on whether an answer begins with one.
        texts = together(requests, self.room, write)
        return [f"{self.prompt.start} {text}" if self.prompt.start else text for text in texts]

    def keep(self, requests: Sequence[Request], prompts: Sequence[Filled], raw: Sequence[Any]) -> None:
        """Write the exchanges down, if they are to be kept."""
        if self.transcript is not None:
            for request, prompt, answer in zip(requests, prompts, raw, strict=True):
                self.transcript(request, self.language_model.readable(prompt), answer)

    def fingerprint(self) -> str:
        """Of the weights, the prompt and every option of the scorer."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name not in ("model", "prompt")}
        return content_hash(READING, type(self).__name__, self.model.fingerprint, self.prompt.fingerprint(), own)


def together(
    requests: Sequence[R], key: Callable[[R], Hashable], answer: Callable[[Any, list[R]], Sequence[T]]
) -> list[T]:
    """The answers to requests, in their order, from calls with one `key` and all the requests that have it."""
    groups: dict[Hashable, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(key(request), []).append(index)
    found: dict[int, T] = {}
    for value, indices in groups.items():
        found.update(zip(indices, answer(value, [requests[i] for i in indices]), strict=True))
    return [found[index] for index in range(len(requests))]


def require_two_labels(prompt: Prompt, first: str) -> tuple[str, str]:
    """The prompt's two labels. Raises ConfigError if it has not two; `first` says what the first one stands for."""
    labels = tuple(prompt.labels or ())
    if len(labels) != 2:
        raise ConfigError("prompt.labels", f"must be two: first the answer for {first}, then the other")
    return labels[0], labels[1]


def log_share(first: float | None, second: float | None) -> float | None:
    """Log of the softmax over two log-probabilities, at the first; None if either is unknown."""
    if first is None or second is None:
        return None
    margin = second - first
    return -math.log1p(math.exp(margin)) if margin < 0 else -margin - math.log1p(math.exp(-margin))
