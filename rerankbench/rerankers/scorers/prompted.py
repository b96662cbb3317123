"""What all scorers share that ask a language model with a prompt: encoding, generating, cost, and the record of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.endpoint.endpoint import Endpoint
from rerankbench.models.lm.language_model import EncodedPrompt, LanguageModel
from rerankbench.models.lm.load import language_model
from rerankbench.models.lm.vllm import VLLM
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Answer, Failure, Listwise, Repaired, Request
from rerankbench.rerankers.scorer import Scorer
from rerankbench.store import content_hash
from rerankbench.usage import Usage

if TYPE_CHECKING:
    from rerankbench.models.lm.causal import CausalLM

PARSING_VERSION = 2
"""Part of every stored answer's key; increase it when the parsers read the same text differently than before."""

R = TypeVar("R", bound=Request)
T = TypeVar("T")


@dataclass(kw_only=True)
class Prompted(Scorer):
    """A language model and a prompt. Unless a subclass answers otherwise, text is generated and `read`.

    stop: texts that end a generated answer.
    """

    model: Model | VLLM | Endpoint
    prompt: Prompt
    usage: Usage = field(init=False, default_factory=Usage)
    chunk: ClassVar[int] = 256
    stop: ClassVar[tuple[str, ...]] = ()

    @functools.cached_property
    def language_model(self) -> LanguageModel:
        """The model; its network loads with the first question."""
        return language_model(self.model, self.usage)

    def causal_lm(self, purpose: str) -> CausalLM:
        """The model. Raises ConfigError, naming the purpose, unless it is a causal one that transformers runs here."""
        from rerankbench.models.lm.causal import CausalLM

        if not isinstance(self.language_model, CausalLM):
            raise ConfigError(key_of(self, "model"), f"must be a causal language model on this machine {purpose}")
        return self.language_model

    def answer(self, requests: Sequence[Any]) -> Sequence[Answer | Failure | Repaired]:
        """What each generated text says."""
        return [self.read(request, text) for request, text in zip(requests, self.generate(requests), strict=True)]

    def read(self, request: Any, text: str) -> Answer | Failure | Repaired:
        """The answer that a generated text, the forced start included, gives to a request."""
        raise NotImplementedError

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """The generated texts, each with the forced start that it continues."""

        def generate(max_new_tokens: int, group: Sequence[Request]) -> list[str]:
            prompts = [self.encode_prompt(request) for request in group]
            texts = self.language_model.generate(prompts, max_new_tokens, self.stop)
            self.record_exchanges(group, prompts, texts)
            return texts

        # A space does not matter to the parsers, and tokenizers differ on whether an answer begins with one.
        texts = batch_by(requests, self.max_new_tokens, generate)
        return [f"{self.prompt.start} {text}" if self.prompt.start else text for text in texts]

    def encode_prompt(self, request: Request) -> EncodedPrompt:
        """The prompt of this request. Raises ConfigError, with the query's id, where it does not fit."""
        top = request.top if isinstance(request, Listwise) else None
        texts = [candidate.document.text for candidate in request.candidates]
        try:
            reserved = self.max_new_tokens(request)
            return self.language_model.encode(self.prompt, request.query.text, texts, top, reserved)
        except ConfigError as error:
            raise ConfigError(error.key, f"query {request.query.id!r}: {error.problem}") from None

    def max_new_tokens(self, request: Any) -> int:
        """Tokens to reserve for the answer to this request; 0 where nothing is generated."""
        return 0

    def tokens(self, request: Request) -> int:
        """The most tokens that the request can cost: prompt and answer."""
        truncated = self.usage.truncated_inputs
        tokens = self.language_model.tokens(self.encode_prompt(request)) + self.max_new_tokens(request)
        self.usage.truncated_inputs = truncated  # nothing was asked yet
        return tokens

    def label_shares(self, requests: Sequence[Request], prompts: Sequence[EncodedPrompt]) -> list[float | Failure]:
        """Log of the softmax over the prompt's two labels, at the first; a failure where either is unknown."""
        scores = self.language_model.label_scores(prompts, self.prompt.labels or ())
        self.record_exchanges(requests, prompts, scores)
        shares = [log_share(first, second) for first, second in scores]
        return [Failure("no label") if share is None else share for share in shares]

    def record_exchanges(
        self, requests: Sequence[Request], prompts: Sequence[EncodedPrompt], raw: Sequence[Any]
    ) -> None:
        """Record prompts and raw answers, if a record is kept."""
        if self.record is not None:
            for request, prompt, answer in zip(requests, prompts, raw, strict=True):
                self.record(request, self.language_model.readable(prompt), answer)

    def fingerprint(self) -> str:
        """Of the weights, the prompt and every option of the scorer."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name not in ("model", "prompt")}
        prompt = self.prompt.fingerprint()
        return content_hash(PARSING_VERSION, type(self).__name__, self.model.fingerprint, prompt, options)


def batch_by(
    requests: Sequence[R], key: Callable[[R], Hashable], answer: Callable[[Any, list[R]], Sequence[T]]
) -> list[T]:
    """The answers to requests, in their order, from one call for each key with all the requests that have it."""
    groups: dict[Hashable, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(key(request), []).append(index)
    answers: dict[int, T] = {}
    for value, indices in groups.items():
        answers.update(zip(indices, answer(value, [requests[i] for i in indices]), strict=True))
    return [answers[index] for index in range(len(requests))]


def require_two_labels(prompt: Prompt, first: str) -> None:
    """Raises ConfigError unless the prompt has two labels; `first` says what the first one stands for."""
    if len(prompt.labels or ()) != 2:
        raise ConfigError("prompt.labels", f"must be two: first the answer for {first}, then the other")


def log_share(first: float | None, second: float | None) -> float | None:
    """Log of the softmax over two log-probabilities, at the first; None if either is unknown."""
    if first is None or second is None:
        return None
    margin = second - first
    return -math.log1p(math.exp(margin)) if margin < 0 else -margin - math.log1p(math.exp(-margin))
