"""Find the best of a few documents at a time (Setwise, Zhuang et al., arXiv 2310.09497)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.rerankers.requests import Rounds, Setwise
from rerankbench.rerankers.strategies.asking import Asking, ask
from rerankbench.rerankers.strategies.sorting import bubble_sort, heap_sort
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class HeapSort:
    """The best k from a heap whose nodes have `children`: up to `children` + 1 documents a request.

    votes: 1 asks once, 2 also in reversed order, more in as many seeded shuffles; ties and failures go to the better
    first-stage rank. present: show a set by first-stage rank, so that a scorer that always says "the first" changes
    nothing, or as the heap has it, the node in front.
    """

    asks: ClassVar[type[Setwise]] = Setwise
    k: Annotated[int, Ge(1)] = 10
    children: Annotated[int, Ge(1)] = 3
    votes: Annotated[int, Ge(1)] = 1
    present: Literal["rank", "heap"] = "rank"
    seed: int = 0

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask once (times `votes`) for each node that sinks, and once for each place it sinks."""

        def pick(node_and_children: list[Candidate]) -> Asking[Candidate]:
            ranked = sorted(node_and_children, key=lambda c: c.rank)
            shown = ranked if self.present == "rank" else node_and_children
            return (yield from _vote(query, shown, ranked, self.votes, self.seed))

        return heap_sort(candidates, self.k, self.children, pick)


@dataclass(frozen=True, kw_only=True)
class BubbleSort:
    """k passes of windows of `children` + 1 documents from the bottom; the winner moves to the window's front.

    votes: as in the heap sort; ties and failures go to the earliest in the current order.
    """

    asks: ClassVar[type[Setwise]] = Setwise
    k: Annotated[int, Ge(1)] = 10
    children: Annotated[int, Ge(1)] = 3
    votes: Annotated[int, Ge(1)] = 1
    seed: int = 0

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask once (times `votes`) a window."""

        def pick(window: list[Candidate]) -> Asking[Candidate]:
            return (yield from _vote(query, window, window, self.votes, self.seed))

        return bubble_sort(candidates, self.k, self.children, pick)


def _vote(
    query: Query, shown: Sequence[Candidate], preferred: Sequence[Candidate], votes: int, seed: int
) -> Asking[Candidate]:
    """The candidate with most votes, the earliest in `preferred` where there are several; a failure is no vote."""
    ballots = _ballots(query, shown, votes, seed)
    answers = yield from ask([Setwise(query, ballot) for ballot in ballots])
    count = Counter(b[a].document.id for b, a in zip(ballots, answers, strict=True) if a is not None)
    return max(preferred, key=lambda c: count[c.document.id])


def _ballots(query: Query, shown: Sequence[Candidate], votes: int, seed: int) -> list[tuple[Candidate, ...]]:
    """The orders in which a set is shown. Shuffles depend on the set, so that the store answers a set seen before."""
    if votes <= 2:
        return [tuple(shown), tuple(reversed(shown))][:votes]
    generator = random.Random("\t".join([str(seed), query.id, *(c.document.id for c in shown)]))
    return [tuple(generator.sample(shown, len(shown))) for _ in range(votes)]
