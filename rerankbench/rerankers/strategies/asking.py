"""What strategies are made of: rounds that the budget may end, and a top part in front of the rest."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from rerankbench.rerankers.requests import Answer, Request, by_order
from rerankbench.types import Candidate, Ranking

T = TypeVar("T")

Asking = Generator[list[Request], list[Answer] | None, T]
"""Part of a strategy: asks as a strategy does, and returns a T."""


class OutOfBudget(Exception):  # noqa: N818 (it ends a strategy, and is no error)
    """The budget does not allow the round, which was not asked."""


def ask(requests: Sequence[Request]) -> Asking[list[Answer]]:
    """The answers to one round. Raises OutOfBudget when the round is beyond the budget."""
    answers = yield list(requests)
    if answers is None:
        raise OutOfBudget
    return answers


def top_then_rest(candidates: Sequence[Candidate], top: Sequence[Candidate]) -> Ranking:
    """The top part in its order, then the others in first-stage order."""
    chosen = {candidate.document.id for candidate in top}
    return by_order([*top, *(c for c in candidates if c.document.id not in chosen)])
