"""Answers from the judgments: an upper bound for any reranker, and the perfect scorer that tests of strategies use."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Pointwise, Usage


@dataclass(kw_only=True)
class Oracle:
    """The grade of a document (0 where unjudged) plus Gaussian noise of standard deviation `noise`, fixed by `seed`."""

    answers: ClassVar[type[Pointwise]] = Pointwise
    benchmark: Benchmark
    noise: float = 0.0
    seed: int = 0
    usage: Usage = field(init=False, default_factory=Usage)

    def __post_init__(self) -> None:
        if self.noise < 0:
            raise ConfigError("reranker.scorer.noise", f"must not be negative, got {self.noise}")

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """The grade of each request's document, with its noise."""
        return [self._grade(request.query.id, request.candidate.document.id) for request in requests]

    def fingerprint(self) -> None:
        """None: looking a grade up is cheaper than storing it."""

    def _grade(self, query_id: str, document_id: str) -> float:
        grade = float(self.benchmark.qrels.get(query_id, {}).get(document_id, 0))
        if not self.noise:
            return grade
        digest = hashlib.sha256(f"{self.seed}\t{query_id}\t{document_id}".encode()).digest()
        return grade + random.Random(digest).gauss(0.0, self.noise)
