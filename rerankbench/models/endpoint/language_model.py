"""Language models behind an OpenAI-compatible API: a vLLM server, Ollama, llama.cpp, hosted ones.

The endpoint knows the tokenizer and the chat template, so what is known of a local model to the token is estimated
here, and what the answer does not tell is unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rerankbench.errors import ConfigError
from rerankbench.models.endpoint.answers import Place, choice, count, echoed, places, text_of
from rerankbench.models.endpoint.endpoint import Endpoint
from rerankbench.models.lm.language_model import EncodedPrompt, Sampling
from rerankbench.prompt import DOCUMENT, Prompt, neutral, shares
from rerankbench.usage import Usage

WRAPPING = 8
"""Tokens that a chat template may put around a message."""
RAW = ""
"""The role of a text that goes to the model as it is, without a chat template."""

_SPECIAL = re.compile(r"<(?=[|\uff5c]|/?s>|/?(?:start|end)_of_turn>|/?think>)|\[(?=/INST\])", re.IGNORECASE)


@dataclass
class HttpLM:
    """The model of an endpoint. `forward_passes` counts the requests that were answered."""

    endpoint: Endpoint
    usage: Usage = field(default_factory=Usage)

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> EncodedPrompt:
        """See LanguageModel."""
        query = harmless(query)
        rendered = prompt.render(len(documents), top)
        kept = self._cut(prompt, rendered, query, [harmless(text) for text in documents], max_new_tokens)
        messages = []
        for role, pieces in rendered:
            parts = [p.text or (kept[p.index] if p.inserted == DOCUMENT else query) for p in pieces]
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
        """See LanguageModel. Raises ConfigError where the endpoint does not go on with an answer."""
        if prompt.messages[0][0] != RAW and not self.endpoint.prefill:
            raise ConfigError(
                "model.prefill",
                "must be true here: the answer is read behind words that the model is made to say, and the endpoint "
                "must go on from there (vLLM can: continue_final_message)",
            )
        more = _unspecial(generated) + forced
        return replace(prompt, start=prompt.start + more, answer_prefix=prompt.answer_prefix + more)

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: from the most likely tokens that the endpoint tells; unknown for a label not among them.

        Tokens that differ only by white space around them are one label, their probabilities added up.
        """
        wanted = [label.strip() for label in labels]
        answers = self._ask(prompts, max_tokens=1, log_probabilities=self.endpoint.top_logprobs)
        read = [places(answer) for answer in answers]
        if all(found is None for found in read) and any(choice(answer) for answer in answers):
            raise ConfigError("model", "the endpoint tells no log-probabilities; choose a reranker that reads text")
        return [
            _label_scores(found or [], self._asked_start(p), wanted) for found, p in zip(read, prompts, strict=True)
        ]

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel; messages are joined to plain text, as for models without a chat template."""
        if not self.endpoint.completions:
            raise ConfigError(
                "model.completions",
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
        if asked and all(math.isnan(scores[index]) for index in asked) and any(choice(answer) for answer in answers):
            problem = "the endpoint's /completions does not tell the log-probabilities of the prompt's tokens"
            raise ConfigError("model.completions", problem)
        return scores

    def generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[str]:
        """See LanguageModel; "" for an answer that could not be read. Not all servers respect a seed."""
        prompts = [prompt for prompt in prompts for _ in range(sampling.n if sampling else 1)]
        answers = self._ask(prompts, max_tokens=max_new_tokens, stop=list(stop) or None, sampling=sampling)
        texts = [text_of(answer, stop) for answer in answers]
        return [_without(self._asked_start(prompt), text) for text, prompt in zip(texts, prompts, strict=True)]

    def _ask(
        self,
        prompts: Sequence[EncodedPrompt],
        max_tokens: int,
        stop: Sequence[str] | None = None,
        log_probabilities: int | None = None,
        sampling: Sampling | None = None,
    ) -> list[Any]:
        """The answers to prompts of one kind: all raw, or none."""
        if not prompts:
            return []
        drawn = [_sampling_options(sampling, index) for index in range(len(prompts))]
        if prompts[0].messages[0][0] == RAW:
            if not self.endpoint.completions:
                problem = "must be true for a raw prompt, and the server must have /completions"
                raise ConfigError("model.completions", problem)
            options: dict[str, Any] = {"max_tokens": max_tokens, "stop": stop, "logprobs": log_probabilities}
            pairs = zip(prompts, drawn, strict=True)
            bodies = [self.endpoint.body(prompt=_plain(prompt), **options, **own) for prompt, own in pairs]
            return self._post("completions", bodies)
        options = {"stop": stop, "top_logprobs": log_probabilities}
        options["logprobs"] = True if log_probabilities else None
        if self.endpoint.prefill and prompts[0].start.strip():
            options.update(continue_final_message=True, add_generation_prompt=False)
        bodies = []
        for prompt, own in zip(prompts, drawn, strict=True):
            start = self._asked_start(prompt)
            written = self._length(start) + 2 if start else 0
            messages = [{"role": role, "content": content} for role, content in self._messages(prompt)]
            bodies.append(self.endpoint.body(messages=messages, max_tokens=max_tokens + written, **options, **own))
        return self._post("chat/completions", bodies)

    def _messages(self, prompt: EncodedPrompt) -> list[tuple[str, str]]:
        """The messages, and the forced start: begun by us, or asked for."""
        if start := self._asked_start(prompt):
            *before, (role, content) = prompt.messages
            return [*before, (role, f"{content}\n\nBegin your answer with: {start}")]
        return [*prompt.messages, ("assistant", prompt.start)] if prompt.start.strip() else list(prompt.messages)

    def _asked_start(self, prompt: EncodedPrompt) -> str:
        """The start of the answer that the model has to write itself; "" where the prompt holds it already."""
        return "" if self.endpoint.prefill or prompt.messages[0][0] == RAW else prompt.start.strip()

    def _post(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        answers = self.endpoint.client.post_all(path, bodies)
        for answer in answers:
            count(self.usage, answer)
        return answers

    def _cut(
        self,
        prompt: Prompt,
        rendered: Sequence[tuple[str, Any]],
        query: str,
        documents: Sequence[str],
        max_new_tokens: int,
    ) -> list[str]:
        """The documents, cut to what `document_tokens` and the context leave them."""
        pieces = [piece for _, own in rendered for piece in own]
        fixed = sum(self._length(p.text or query) for p in pieces if p.inserted != DOCUMENT)
        fixed += WRAPPING * (len(rendered) + bool(prompt.start)) + self._length(prompt.start)
        shown = [piece.index for piece in pieces if piece.inserted == DOCUMENT]
        ends = [self.endpoint.token_ends(text) for text in documents]
        lengths = [min(len(ends[i]), prompt.document_tokens or 1 << 30) for i in shown]
        room = (self.endpoint.context or 1 << 30) - max_new_tokens - fixed
        kept = shares(lengths, max(0, room))
        if room < 0 or any(k < min(n, prompt.min_document_tokens) for k, n in zip(kept, lengths, strict=True)):
            raise ConfigError(
                "model.context",
                f"the prompt does not fit: about {fixed} tokens of instruction and query and {max_new_tokens} for the "
                f"answer leave {max(0, room)} of {self.endpoint.context} to {len(shown)} documents; show fewer at once",
            )
        longest = dict(zip(shown, kept, strict=True))
        cut = [i for i, own in enumerate(ends) if i in longest and longest[i] < len(own)]
        self.usage.truncated_inputs += bool(cut)
        return [text[: [0, *ends[i]][longest[i]]] if i in cut else text for i, text in enumerate(documents)]

    def _length(self, text: str) -> int:
        return len(self.endpoint.token_ends(text))


def harmless(text: str) -> str:
    """A text that cannot be read as a label or as a chat template's special token: `<|end|>` becomes `< |end|>`."""
    return _unspecial(neutral(text))


def _unspecial(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"{found[0]} ", text)


def _plain(prompt: EncodedPrompt) -> str:
    return "\n\n".join(content for _, content in prompt.messages) + prompt.answer_prefix


def _sampling_options(sampling: Sampling | None, index: int) -> dict[str, Any]:
    """The body's part for the answer of this index; each of a prompt's `n` answers has a seed of its own."""
    if sampling is None:
        return {"temperature": 0}
    seed = sampling.seed + index % sampling.n
    return {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed}


def _without(start: str, text: str) -> str:
    """The answer behind the start that it was to have, or all of it."""
    return text.lstrip().removeprefix(start) if start and text.lstrip().startswith(start) else text


def _label_scores(found: Sequence[Place], start: str, labels: Sequence[str]) -> list[float | None]:
    """Log-probability of each label at the place of the answer where it is decided."""
    scores: dict[str, float] = {}
    place = _deciding(found, start)
    for token, log_probability in place.likely if place else ():
        label = token.strip(" \n\r\tĠ▁")
        label = label if label in labels else label.removeprefix(start).strip()
        if label in labels:
            known = scores.get(label, -math.inf)
            high, low = max(known, log_probability), min(known, log_probability)
            scores[label] = high + math.log1p(math.exp(low - high)) if high > -math.inf else high
    return [scores.get(label) for label in labels]


def _deciding(found: Sequence[Place], start: str) -> Place | None:
    """The first place, or the one behind the start that the answer was to have."""
    written = ""
    for place in found:
        if start and written.strip() == start and place.token.strip():
            return place
        written += place.token
    return found[0] if found else None
