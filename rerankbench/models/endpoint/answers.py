"""Reads the answers of OpenAI-compatible endpoints. Whatever is missing or misshapen reads as nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerankbench.usage import Usage


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """One token of an answer, and the tokens that were likely in its position with their log-probabilities."""

    text: str
    alternatives: tuple[tuple[str, float], ...]


def dig(node: Any, *path: str | int) -> Any:
    """The value at a path of keys and indices, or None."""
    for step in path:
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
        else:
            return None
    return node


def number(value: Any) -> float | None:
    """A finite number, or None."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits else None


def choices(answer: Any) -> list[dict[str, Any]]:
    """The choices of an answer."""
    found = dig(answer, "choices")
    return [choice for choice in found if isinstance(choice, dict)] if isinstance(found, list) else []


def text_of(answer: Any, stop: Sequence[str], index: int = 0) -> str:
    """The generated text of the choice at this index, with the text that stopped it, which APIs leave out."""
    choice = dig(choices(answer), index) or {}
    text = dig(choice, "message", "content") if "message" in choice else choice.get("text")
    if not isinstance(text, str):
        return ""
    if choice.get("finish_reason") != "stop" or any(text.endswith(ending) for ending in stop):
        return text
    if "stop_reason" in choice:  # vLLM says which; null is the end token
        return text + (choice["stop_reason"] if choice["stop_reason"] in stop else "")
    return text + (stop[0] if len(stop) == 1 else "")


def answer_tokens(answer: Any) -> list[AnswerToken] | None:
    """The tokens of an answer from chat or plain completions; None where it has no log-probabilities."""
    found = dig(choices(answer), 0, "logprobs")
    if isinstance(tokens := dig(found, "content"), list):
        return [AnswerToken(str(dig(token, "token") or ""), _likely(dig(token, "top_logprobs"))) for token in tokens]
    if isinstance(listed := dig(found, "top_logprobs"), list):
        return [AnswerToken(str(dig(found, "tokens", i) or ""), _likely(likely)) for i, likely in enumerate(listed)]
    return None


def echoed(answer: Any, ending: str) -> list[float]:
    """Log-probabilities of the tokens that make up the ending of an echoed prompt; none where they do not add up.

    One token more than the prompt has is generated, unless the answer says otherwise.
    """
    tokens, scores = (dig(choices(answer), 0, "logprobs", name) for name in ("tokens", "token_logprobs"))
    if not isinstance(tokens, list) or not isinstance(scores, list) or len(tokens) != len(scores):
        return []
    counted = number(dig(answer, "usage", "prompt_tokens"))
    length = len(tokens) - 1 if counted is None else min(int(counted), len(tokens))
    text, inside = "", []
    for token, score in zip(reversed(tokens[:length]), reversed(scores[:length]), strict=True):
        if len(text) >= len(ending):
            break
        text = str(token) + text
        inside.append(number(score))
    known = [score for score in inside if score is not None]
    return known if text.endswith(ending) and len(known) == len(inside) else []


def count(usage: Usage, answer: Any) -> None:
    """Add the usage that an answer reports."""
    usage.forward_passes += answer is not None
    for name, path in (
        ("prompt_tokens", ("prompt_tokens",)),
        ("generated_tokens", ("completion_tokens",)),
        ("reused_tokens", ("prompt_tokens_details", "cached_tokens")),
    ):
        value = number(dig(answer, "usage", *path))
        setattr(usage, name, getattr(usage, name) + int(value or 0))


def _likely(node: Any) -> tuple[tuple[str, float], ...]:
    """Tokens with log-probabilities, from a list of objects or from a mapping."""
    if isinstance(node, dict):
        pairs = list(node.items())
    else:
        pairs = [(dig(one, "token"), dig(one, "logprob")) for one in node] if isinstance(node, list) else []
    return tuple((token, value) for token, p in pairs if isinstance(token, str) and (value := number(p)) is not None)
