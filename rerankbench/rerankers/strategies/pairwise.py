"""Compare documents two at a time, always in both orders (PRP, Qin et al., arXiv 2306.17563)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.rerankers.requests import Answer, Pairwise, Rounds, by_score
from rerankbench.rerankers.strategies.asking import Asking, OutOfBudget, ask
from rerankbench.rerankers.strategies.sorting import Pick, bubble_sort, heap_sort
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class AllPairs:
    """Compare every pair, in one round; a document's score is the sum of its shares of its pairs.

    preference: `hard`, both orders must agree, else the pair is a tie; `soft`, the larger of the two preferences wins,
    and a gets (1 + p(a, b) − p(b, a)) / 2, which sums to the SYM-SUM of duoT5 (Pradeep et al., arXiv 2101.05667).
    """

    asks: ClassVar[type[Pairwise]] = Pairwise
    preference: Literal["soft", "hard"] = "soft"

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask n(n−1) times."""
        scores = dict.fromkeys((c.document.id for c in candidates), 0.0)
        pairs = list(combinations(candidates, 2))
        try:
            asked = chain.from_iterable(_both_orders(query, a, b) for a, b in pairs)
            answers = (yield from ask(list(asked))) if pairs else []
        except OutOfBudget:
            answers = []
        for (a, b), forward, backward in zip(pairs, answers[::2], answers[1::2], strict=bool(answers)):
            share = (1 + _margin(forward, backward, self.preference)) / 2
            scores[a.document.id] += share
            scores[b.document.id] += 1 - share
        return by_score(candidates, scores)


@dataclass(frozen=True, kw_only=True)
class HeapSort:
    """The best k from a binary heap; a tie goes to the better first-stage rank. preference: as in all pairs."""

    asks: ClassVar[type[Pairwise]] = Pairwise
    k: Annotated[int, Ge(1)] = 10
    preference: Literal["soft", "hard"] = "soft"

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask about n + k log n pairs, one a round."""
        return heap_sort(candidates, self.k, 2, _picker(query, self.preference, by_rank=True))


@dataclass(frozen=True, kw_only=True)
class BubbleSort:
    """k bubble passes from the bottom ("sliding window" in the paper); a document rises only on a win.

    preference: as in all pairs.
    """

    asks: ClassVar[type[Pairwise]] = Pairwise
    k: Annotated[int, Ge(1)] = 10
    preference: Literal["soft", "hard"] = "soft"

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask about kn pairs, one a round."""
        return bubble_sort(candidates, self.k, 1, _picker(query, self.preference, by_rank=False))


def _both_orders(query: Query, a: Candidate, b: Candidate) -> tuple[Pairwise, Pairwise]:
    return Pairwise(query, a, b), Pairwise(query, b, a)


def _margin(forward: Answer, backward: Answer, preference: str) -> float:
    """How far the first of a pair wins, in [-1, 1]; 0 is a tie, and so is a pair with a failed half.

    A scorer that only looks at the position answers the same in both orders: a tie.
    """
    if forward is None or backward is None:
        return 0.0
    if preference == "soft":
        return float(forward - backward)
    return float((forward > 0.5 > backward) - (forward < 0.5 < backward))


def _picker(query: Query, preference: str, by_rank: bool) -> Pick:
    """Compare the best so far with each of the others in turn; a tie goes to the better rank, or to the best so far."""

    def pick(shown: list[Candidate]) -> Asking[Candidate]:
        best = shown[0]
        for other in shown[1:]:
            forward, backward = yield from ask(_both_orders(query, best, other))
            margin = _margin(forward, backward, preference)
            if margin < 0 or (margin == 0 and by_rank and other.rank < best.rank):
                best = other
        return best

    return pick
