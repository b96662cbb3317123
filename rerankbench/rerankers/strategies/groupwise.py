"""Score documents in groups, each seeing the others (GroupRank, Sun et al., arXiv 2511.11653)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Interval

from rerankbench.rerankers.requests import Groupwise, Rounds, by_score
from rerankbench.rerankers.strategies.asking import OutOfBudget, ask
from rerankbench.retrievers.fuse import minmax
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of at most `group_size` (null: one group of all), `rounds` times; a document's score is its mean.

    The first round groups neighbours of the first stage, later ones are seeded shuffles. Missing answers are left out
    of the mean, and a document without any goes last.
    retriever_weight: the share w of the first-stage score in (1 − w)·score + w·retriever; blend: of both as they are
    (`raw`), or each brought to 0…1 within the query (`minmax`).
    """

    asks: ClassVar[type[Groupwise]] = Groupwise
    group_size: Annotated[int, Ge(1)] | None = 20
    rounds: Annotated[int, Ge(1)] = 1
    seed: int = 0
    retriever_weight: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    blend: Literal["minmax", "raw"] = "minmax"

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask every group once a round; stopped by the budget, the answers so far decide."""
        if not candidates:
            return by_score(candidates, {})
        answered: dict[str, list[float]] = {}
        generator = random.Random(f"{self.seed}\t{query.id}")
        order = list(candidates)
        try:
            for turn in range(self.rounds):
                if turn:
                    generator.shuffle(order)
                asked = [Groupwise(query, group) for group in self._groups(order)]
                answers = yield from ask(asked)
                for request, scores in zip(asked, answers, strict=True):
                    for candidate, score in zip(request.candidates, scores or [], strict=scores is not None):
                        if score is not None:
                            answered.setdefault(candidate.document.id, []).append(score)
        except OutOfBudget:
            pass
        return by_score(candidates, self._blended(candidates, {d: sum(s) / len(s) for d, s in answered.items()}))

    def _groups(self, order: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
        """As few groups as fit, of neighbours; their sizes differ by one at most, the larger first."""
        n = len(order)
        number = -(-n // (self.group_size or n))
        ends = [n // number * g + min(g, n % number) for g in range(number + 1)]
        return [tuple(order[start:end]) for start, end in pairwise(ends)]

    def _blended(self, candidates: Sequence[Candidate], scores: Mapping[str, float]) -> Mapping[str, float]:
        if not self.retriever_weight:
            return scores
        retriever: Mapping[str, float] = {c.document.id: c.score for c in candidates}
        if self.blend == "minmax":
            scores, retriever = (
                dict(zip(part, minmax(list(part.values())), strict=True)) for part in (scores, retriever)
            )
        w = self.retriever_weight
        return {document: (1 - w) * score + w * retriever[document] for document, score in scores.items()}
