"""Language models behind an OpenAI-compatible API: a vLLM server, Ollama, llama.cpp, hosted ones.

The endpoint has the tokenizer and the chat template, so token counts, exact for a local model, are estimated here, and
what the answer does not contain is unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.endpoint.answers import AnswerToken, answer_tokens, choices, count, echoed, text_of
from rerankbench.models.lm.language_model import EncodedPrompt, Sampling
from rerankbench.prompt import DOCUMENT, Prompt, neutral, shares
from rerankbench.usage import Usage

if TYPE_CHECKING:
    from rerankbench.models.endpoint.endpoint import Endpoint

WRAPPING = 8
"""Tokens that a chat template may put around a message."""
RAW = ""
"""The role of a text that goes to the model as it is, without a chat template."""

_SPECIAL = re.compile(r"<(?=[|\uff5c]|/?s>|/?(?:start|end)_of_turn>|/?think>)|\[(?=/INST\])", re.IGNORECASE)


@dataclass
class EndpointLM:
    """The model of an endpoint. `forward_passes` counts the requests that were answered."""

    endpoint: Endpoint
    usage: Usage = field(default_factory=Usage)

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> EncodedPrompt:
        """See LanguageModel."""
        query = harmless(query)
        rendered = prompt.render(len(documents), top)
        shown = self._truncate(prompt, rendered, query, [harmless(text) for text in documents], max_new_tokens)
        messages = []
        for role, pieces in rendered:
            parts = [p.text or (shown[p.index] if p.inserted == DOCUMENT else query) for p in pieces]
            messages.append((RAW if prompt.raw else role, "".join(parts)))
        plain_start = "" if prompt.raw else prompt.plain_start
        prefix = plain_start + prompt.start
        return EncodedPrompt(messages=tuple(messages), start=prompt.start, answer_prefix=prefix, template=prompt)

    def readable(self, prompt: EncodedPrompt) -> str:
        """See LanguageModel."""
        shown = "\n\n".join(f"[{role}]\n{content}" if role != RAW else content for role, content in prompt.messages)
        return f"{shown}\n\n[answer]\n{prompt.start}" if prompt.messages[0][0] != RAW else shown + prompt.start

    def tokens(self, prompt: EncodedPrompt) -> int:
        """See LanguageModel."""
        texts = [content for _, content in prompt.messages]
        return sum(WRAPPING + self._length(text) for text in texts) + self._length(prompt.start)

    def extended(self, prompt: EncodedPrompt, generated: str, forced: str) -> EncodedPrompt:
        """See LanguageModel. Raises ConfigError where the endpoint does not continue an answer."""
        if prompt.messages[0][0] != RAW and not self.endpoint.prefill:
            raise self._error(
                "prefill",
                "must be true here: the answer is read behind a forced text, from which the endpoint must continue "
                "(vLLM can: continue_final_message)",
            )
        more = _unspecial(generated) + forced
        return replace(prompt, start=prompt.start + more, answer_prefix=prompt.answer_prefix + more)

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: from the most likely tokens that the endpoint lists; unknown for a label not among them.

        Tokens that differ only by white space around them are one label, their probabilities added up.
        """
        wanted = [label.strip() for label in labels]
        answers = self._ask(prompts, 1, self.endpoint.top_logprobs, temperature=0)
        tokens = [answer_tokens(answer) for answer in answers]
        if all(own is None for own in tokens) and any(choices(answer) for answer in answers):
            raise self._error("", "the endpoint returns no log-probabilities; choose a reranker that reads text")
        pairs = zip(tokens, prompts, strict=True)
        return [_label_scores(own or [], self._requested_start(prompt), wanted) for own, prompt in pairs]

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel; messages are joined to plain text, as for models without a chat template."""
        if not self.endpoint.completions:
            raise self._error(
                "completions",
                "this endpoint cannot score a given text; set it to true if the server has /completions with echo "
                "and logprobs (vLLM and llama.cpp do, chat APIs do not)",
            )
        asked = [index for index, text in enumerate(continuations) if text]
        texts, endings = [], []
        for index in asked:
            start = _plain(prompts[index])
            gap = " " if start and not start[-1].isspace() else ""
            texts.append(start + gap + continuations[index])
            endings.append(gap + continuations[index])
        options = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        answers = self._post("completions", [self.endpoint.body(prompt=text, **options) for text in texts])
        scores = [0.0] * len(prompts)
        for index, answer, ending in zip(asked, answers, endings, strict=True):
            found = echoed(answer, ending)
            scores[index] = math.nan if not found else math.fsum(found) / (1 if total else len(found))
        if asked and all(math.isnan(scores[index]) for index in asked) and any(choices(answer) for answer in answers):
            problem = "the endpoint's /completions does not return the log-probabilities of the prompt's tokens"
            raise self._error("completions", problem)
        return scores

    def generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[str]:
        """See LanguageModel; "" for an answer that could not be read. Not all servers respect a seed."""
        n = sampling.n if sampling else 1
        options: dict[str, Any] = {"temperature": 0}
        if sampling:
            options = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
            options["n"] = n if n > 1 else None  # some servers do not know it
        answers = self._ask(prompts, max_new_tokens, stop=list(stop) or None, **options)
        returned = max((len(choices(answer)) for answer in answers), default=n)
        if 0 < returned < n:
            raise self._error("", f"the endpoint returned {returned} of {n} answers: it does not support n")
        texts = [text_of(answer, stop, index) for answer in answers for index in range(n)]
        repeated = [prompt for prompt in prompts for _ in range(n)]
        return [_without(self._requested_start(p), text) for text, p in zip(texts, repeated, strict=True)]

    def _ask(
        self, prompts: Sequence[EncodedPrompt], max_tokens: int, log_probabilities: int | None = None, **options: Any
    ) -> list[Any]:
        """The answers to prompts of one kind: all raw, or none. options: for the body of every request."""
        if not prompts:
            return []
        if prompts[0].messages[0][0] == RAW:
            if not self.endpoint.completions:
                raise self._error("completions", "must be true for a raw prompt, and the server must have /completions")
            options.update(max_tokens=max_tokens, logprobs=log_probabilities)
            return self._post("completions", [self.endpoint.body(prompt=_plain(p), **options) for p in prompts])
        options.update(logprobs=True if log_probabilities else None, top_logprobs=log_probabilities)
        if self.endpoint.prefill and prompts[0].start.strip():
            options.update(continue_final_message=True, add_generation_prompt=False)
        bodies = []
        for prompt in prompts:
            start = self._requested_start(prompt)
            start_tokens = self._length(start) + 2 if start else 0
            messages = [{"role": role, "content": content} for role, content in self._messages(prompt)]
            bodies.append(self.endpoint.body(messages=messages, max_tokens=max_tokens + start_tokens, **options))
        return self._post("chat/completions", bodies)

    def _messages(self, prompt: EncodedPrompt) -> list[tuple[str, str]]:
        """The messages, and the forced start: as the beginning of the answer, or as an instruction."""
        if start := self._requested_start(prompt):
            *before, (role, content) = prompt.messages
            return [*before, (role, f"{content}\n\nBegin your answer with: {start}")]
        return [*prompt.messages, ("assistant", prompt.start)] if prompt.start.strip() else list(prompt.messages)

    def _requested_start(self, prompt: EncodedPrompt) -> str:
        """The start of the answer that the model has to write itself; "" where the prompt holds it already."""
        return "" if self.endpoint.prefill or prompt.messages[0][0] == RAW else prompt.start.strip()

    def _post(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        answers = self.endpoint.client.post_all(path, bodies)
        for answer in answers:
            count(self.usage, answer)
        return answers

    def _truncate(
        self, prompt: Prompt, rendered: Sequence[tuple[str, Any]], query: str, documents: Sequence[str], reserved: int
    ) -> list[str]:
        """The documents, truncated to what `document_tokens` and the context leave them.

        reserved: tokens of the answer.
        """
        pieces = [piece for _, own in rendered for piece in own]
        fixed = sum(self._length(p.text or query) for p in pieces if p.inserted != DOCUMENT)
        fixed += WRAPPING * (len(rendered) + bool(prompt.start)) + self._length(prompt.start)
        shown = [piece.index for piece in pieces if piece.inserted == DOCUMENT]
        ends = [self.endpoint.token_ends(text) for text in documents]
        lengths = [min(len(ends[i]), prompt.document_tokens or 1 << 30) for i in shown]
        available = (self.endpoint.context or 1 << 30) - reserved - fixed
        kept = shares(lengths, max(0, available))
        if available < 0 or any(k < min(n, prompt.min_document_tokens) for k, n in zip(kept, lengths, strict=True)):
            raise self._error(
                "context",
                f"the prompt does not fit: about {fixed} tokens of instruction and query and {reserved} for the answer "
                f"leave {max(0, available)} of {self.endpoint.context} to {len(shown)} documents; show fewer at once",
            )
        longest = dict(zip(shown, kept, strict=True))
        truncated = [i for i, positions in enumerate(ends) if i in longest and longest[i] < len(positions)]
        self.usage.truncated_inputs += bool(truncated)
        return [text[: [0, *ends[i]][longest[i]]] if i in truncated else text for i, text in enumerate(documents)]

    def _error(self, field: str, problem: str) -> ConfigError:
        return ConfigError(key_of(self.endpoint, field), problem)

    def _length(self, text: str) -> int:
        return len(self.endpoint.token_ends(text))


def harmless(text: str) -> str:
    """A text that cannot be read as a label or as a chat template's special token: `<|end|>` becomes `< |end|>`."""
    return _unspecial(neutral(text))


def _unspecial(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"{found[0]} ", text)


def _plain(prompt: EncodedPrompt) -> str:
    return "\n\n".join(content for _, content in prompt.messages) + prompt.answer_prefix


def _without(start: str, text: str) -> str:
    """The answer behind the start that it was to have, or all of it."""
    return text.lstrip().removeprefix(start) if start and text.lstrip().startswith(start) else text


def _label_scores(tokens: Sequence[AnswerToken], start: str, labels: Sequence[str]) -> list[float | None]:
    """Log-probability of each label at the token of the answer that decides."""
    scores: dict[str, float] = {}
    deciding = _deciding(tokens, start)
    for token, log_probability in deciding.alternatives if deciding else ():
        label = token.strip(" \n\r\tĠ▁")
        label = label if label in labels else label.removeprefix(start).strip()
        if label in labels:
            known = scores.get(label, -math.inf)
            high, low = max(known, log_probability), min(known, log_probability)
            scores[label] = high + math.log1p(math.exp(low - high)) if high > -math.inf else high
    return [scores.get(label) for label in labels]


def _deciding(tokens: Sequence[AnswerToken], start: str) -> AnswerToken | None:
    """The first token, or the one behind the start that the answer was to have."""
    before = ""
    for token in tokens:
        if start and before.strip() == start and token.text.strip():
            return token
        before += token.text
    return tokens[0] if tokens else None
