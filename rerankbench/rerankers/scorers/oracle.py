"""Answers from the judgments: an upper bound for any reranker, and the perfect scorer that tests of strategies use."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.rerankers.requests import Answer, Listwise, Pairwise, Pointwise, Request, Setwise
from rerankbench.rerankers.scorer import Scorer
from rerankbench.usage import Usage


@dataclass(kw_only=True)
class Oracle(Scorer):
    """Any request, answered by grades (0 where unjudged) plus Gaussian noise of standard deviation `noise`.

    The noise of a document for a query is fixed by `seed`, so that all answers agree. Ties: half a preference, else the
    order shown. Answers are not stored: looking a grade up is cheaper.
    """

    answers: ClassVar[Any] = Request
    reads: ClassVar[frozenset[str]] = frozenset({"ids"})
    benchmark: Benchmark
    noise: Annotated[float, Ge(0)] = 0.0
    seed: int = 0
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The answer to each request that its documents' grades, with their noise, imply."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        grades = [self._grade(request.query.id, candidate.document.id) for candidate in request.candidates]
        best_first = sorted(range(len(grades)), key=lambda i: -grades[i])
        if isinstance(request, Pointwise):
            return grades[0]
        if isinstance(request, Pairwise):
            return 0.5 if grades[0] == grades[1] else float(grades[0] > grades[1])
        if isinstance(request, Setwise):
            return best_first[0]
        if isinstance(request, Listwise):
            top = best_first[: request.top]
            return [*top, *(i for i in range(len(grades)) if i not in top)]
        return grades

    def _grade(self, query_id: str, document_id: str) -> float:
        grade = float(self.benchmark.qrels.get(query_id, {}).get(document_id, 0))
        if not self.noise:
            return grade
        digest = hashlib.sha256(f"{self.seed}\t{query_id}\t{document_id}".encode()).digest()
        return grade + random.Random(digest).gauss(0.0, self.noise)
