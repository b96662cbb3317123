"""Score in first-stage order and stop early (Martinico et al., "Multivector Reranking …", arXiv 2601.05200)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.rerankers.requests import Pointwise, Rounds, by_score
from rerankbench.rerankers.strategies.asking import OutOfBudget, ask
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    """Score the first k, then the next ones as long as some of them enter the best k.

    alpha: candidate pruning; leave out what scored below s − alpha·|s| in the first stage, s being the k-th's score.
    beta: early exit; stop after `beta` candidates in a row that fail to enter the best k.
    Null for either is no limit. block: how many are asked at a time after the first k; more than one asks ahead.
    """

    asks: ClassVar[type[Pointwise]] = Pointwise
    k: Annotated[int, Ge(1)] = 10
    alpha: Annotated[float, Ge(0)] | None = None
    beta: Annotated[int, Ge(1)] | None = None
    block: Annotated[int, Ge(1)] = 1

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask for k, then block by block; the unscored follow the scored in first-stage order."""
        scores: dict[str, float | None] = {}
        best: list[float] = []  # a heap of the best k scores so far
        misses = longest = 0
        try:
            for part in self._blocks(self._pruned(candidates)):
                first = not scores
                answers = yield from ask([Pointwise(query, candidate) for candidate in part])
                for candidate, score in zip(part, answers, strict=True):
                    scores[candidate.document.id] = score
                    misses = 0 if _enters(best, score, self.k) or first else misses + 1
                    longest = max(longest, misses)
                if self.beta is not None and longest >= self.beta:
                    break
        except OutOfBudget:
            pass
        return by_score(candidates, scores)

    def _pruned(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        if self.alpha is None or len(candidates) < self.k:
            return candidates
        kth = candidates[self.k - 1].score
        threshold = kth - self.alpha * abs(kth)  # |s|: a negative score, too, must lower the threshold
        return [candidate for candidate in candidates if candidate.score >= threshold]

    def _blocks(self, candidates: Sequence[Candidate]) -> list[Sequence[Candidate]]:
        """The first k and then the others, a block at a time; all at once where no exit is possible."""
        starts = [0] if self.beta is None else [0, *range(self.k, len(candidates), self.block)]
        ends = [*starts[1:], len(candidates)]
        return [candidates[start:end] for start, end in zip(starts, ends, strict=True) if start < end]


def _enters(best: list[float], score: float | None, k: int) -> bool:
    """Put the score among the best k if it belongs there; a tie stays out, its first-stage rank is worse."""
    if score is None or (len(best) == k and score <= best[0]):
        return False
    if len(best) == k:
        heapq.heapreplace(best, score)
    else:
        heapq.heappush(best, score)
    return True
