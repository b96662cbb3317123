"""From a query and candidates to a request, as strategies and training ask it."""

from __future__ import annotations

from collections.abc import Sequence

from rerankbench.rerankers.requests import Listwise, Pairwise, Pointwise, Request
from rerankbench.types import Candidate, Query


def request_of(
    query: Query, candidates: Sequence[Candidate], paradigm: type[Request], top: int | None = None
) -> Request:
    """The request of a paradigm (a scorer's `answers`) that shows these candidates, in their order.

    Pointwise takes one candidate and Pairwise two; `top` is for Listwise alone. Raises ValueError for another number.
    """
    if paradigm is Pointwise:
        (only,) = candidates
        return Pointwise(query, only)
    if paradigm is Pairwise:
        first, second = candidates
        return Pairwise(query, first, second)
    if paradigm is Listwise:
        return Listwise(query, tuple(candidates), top)
    return paradigm(query, tuple(candidates))  # type: ignore[call-arg, arg-type]
