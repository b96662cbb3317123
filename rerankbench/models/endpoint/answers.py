"""What stands in the answers of OpenAI-compatible endpoints. Whatever is missing or misshapen reads as nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerankbench.usage import Usage


@dataclass(frozen=True, slots=True)
class Place:
    """One token of an answer, and the tokens that were likely there with their log-probabilities."""

    token: str
    likely: tuple[tuple[str, float], ...]


def dig(node: Any, *path: str | int) -> Any:
    """What stands at a path of keys and indices, or None."""
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


def choice(answer: Any) -> dict[str, Any]:
    """The only choice of an answer; empty where there is none."""
    found = dig(answer, "choices", 0)
    return found if isinstance(found, dict) else {}


def text_of(answer: Any, stop: Sequence[str]) -> str:
    """The generated text, with the text that stopped it, which APIs leave out."""
    own = choice(answer)
    text = dig(own, "message", "content") if "message" in own else own.get("text")
    if not isinstance(text, str):
        return ""
    if own.get("finish_reason") != "stop" or any(text.endswith(ending) for ending in stop):
        return text
    if "stop_reason" in own:  # vLLM says which; null is the end token
        return text + (own["stop_reason"] if own["stop_reason"] in stop else "")
    return text + (stop[0] if len(stop) == 1 else "")


def places(answer: Any) -> list[Place] | None:
    """The tokens of an answer from chat or plain completions; None where no log-probabilities are told."""
    found = choice(answer).get("logprobs")
    if isinstance(tokens := dig(found, "content"), list):
        return [Place(str(dig(token, "token") or ""), _likely(dig(token, "top_logprobs"))) for token in tokens]
    if isinstance(listed := dig(found, "top_logprobs"), list):
        return [Place(str(dig(found, "tokens", i) or ""), _likely(one)) for i, one in enumerate(listed)]
    return None


def echoed(answer: Any, ending: str) -> list[float]:
    """Log-probabilities of the tokens that make up the ending of an echoed prompt; none where they do not add up.

    One token more than the prompt has is generated, unless the answer says otherwise.
    """
    tokens, scores = (dig(choice(answer), "logprobs", name) for name in ("tokens", "token_logprobs"))
    if not isinstance(tokens, list) or not isinstance(scores, list) or len(tokens) != len(scores):
        return []
    told = number(dig(answer, "usage", "prompt_tokens"))
    length = len(tokens) - 1 if told is None else min(int(told), len(tokens))
    written, inside = "", []
    for token, score in zip(reversed(tokens[:length]), reversed(scores[:length]), strict=True):
        if len(written) >= len(ending):
            break
        written = str(token) + written
        inside.append(number(score))
    known = [score for score in inside if score is not None]
    return known if written.endswith(ending) and len(known) == len(inside) else []


def count(usage: Usage, answer: Any) -> None:
    """Add what an answer says it cost."""
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
