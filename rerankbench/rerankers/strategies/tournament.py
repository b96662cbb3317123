"""A tournament of groups whose best advance, played several times over (TourRank, Chen et al., arXiv 2406.11678)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.rerankers.requests import Listwise, Rounds, by_score
from rerankbench.rerankers.strategies.asking import OutOfBudget, ask
from rerankbench.types import Candidate, Query

GROUP = 20
"""The most documents a group may have."""

TARGETS = (1000, 500, 200, 100, 50, 20, 10, 5, 2)
"""How many survive the stages: those of these numbers that are below n."""


@dataclass(frozen=True, kw_only=True)
class Tournament:
    """A document gains a point for every stage it survives; points add up over `rounds` tournaments.

    The paper's stages of n = 100 (100 → 50 → 20 → 10 → 5 → 2, 13 requests), continued to any n. The tournaments run
    side by side and differ by the order in which groups are shown: without `shuffle` they only repeat.
    """

    asks: ClassVar[type[Listwise]] = Listwise
    rounds: Annotated[int, Ge(1)] = 1
    shuffle: bool = True
    seed: int = 0

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask one stage of all tournaments a round; stopped by the budget, the points so far decide."""
        points = dict.fromkeys((c.document.id for c in candidates), 0.0)
        survivors = [list(candidates)] * self.rounds
        generators = [random.Random(f"{self.seed}\t{query.id}\t{number}") for number in range(self.rounds)]
        try:
            for target in _targets(len(candidates)):
                groups = [
                    (number, members, Listwise(query, self._shown(members, generators[number]), top=quota))
                    for number, alive in enumerate(survivors)
                    for members, quota in _groups(alive, target)
                ]
                contested = [request for _, members, request in groups if request.top != len(members)]
                answers = dict(zip(map(id, contested), (yield from ask(contested)), strict=True))
                survivors = [[] for _ in survivors]
                for number, members, request in groups:
                    answer = answers.get(id(request))
                    order = members if answer is None else [request.candidates[i] for i in answer]
                    survivors[number] += order[: request.top]
                for alive in survivors:
                    alive.sort(key=lambda candidate: candidate.rank)
                    for candidate in alive:
                        points[candidate.document.id] += 1
        except OutOfBudget:
            pass
        return by_score(candidates, points)

    def _shown(self, members: Sequence[Candidate], generator: random.Random) -> tuple[Candidate, ...]:
        return tuple(generator.sample(members, len(members)) if self.shuffle else members)


def _targets(n: int) -> list[int]:
    return [1] if n == 2 else [target for target in TARGETS if target < n]


def _groups(alive: Sequence[Candidate], target: int) -> list[tuple[list[Candidate], int]]:
    """The groups of a stage with their quotas, filled in turn, so that every group has its share of good documents.

    As few as `GROUP` allows, or a few more if then all have the same size and quota; else the larger ones come first.
    """
    m = len(alive)
    fewest = -(-m // GROUP)
    equal = (number for number in range(fewest, m // 2 + 1) if m % number == 0 == target % number)
    number = next(equal, fewest)
    return [(list(alive[g::number]), len(range(g, target, number))) for g in range(number)]
