"""What strategies are made of: rounds that may be refused, checked options, a top part in front of the rest."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Answer, Request, by_order
from rerankbench.types import Candidate, Ranking

T = TypeVar("T")

Asking = Generator[list[Request], list[Answer] | None, T]
"""Part of a strategy's work: asks as a strategy does, and returns a T."""


class OutOfBudget(Exception):  # noqa: N818 (it ends a strategy, and is no error)
    """The engine did not ask the round."""


def ask(requests: Sequence[Request]) -> Asking[list[Answer]]:
    """The answers to one round; OutOfBudget, wherever in a strategy this is, when the round is refused."""
    answers = yield list(requests)
    if answers is None:
        raise OutOfBudget
    return answers


def top_then_rest(candidates: Sequence[Candidate], top: Sequence[Candidate]) -> Ranking:
    """The top part in its order, then the others in first-stage order."""
    chosen = {candidate.document.id for candidate in top}
    return by_order([*top, *(c for c in candidates if c.document.id not in chosen)])


def require_at_least(minimum: int, **options: int | None) -> None:
    """ConfigError for an option of the strategy that is below `minimum`; None passes."""
    for name, value in options.items():
        if value is not None and value < minimum:
            raise ConfigError(name, f"must be at least {minimum}, got {value}")
