"""Rerankers of a handful of documents whose scores are given, for the tests of rerankers made of rerankers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.strategies.identity import Identity
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Document, Query, Run
from rerankbench.usage import Usage

NODE = {"_target_": Reranker, "strategy": {"_target_": Identity}}
"""A reranker as the configuration describes it."""


@dataclass
class Table(Scorer):
    """A scorer that looks scores up by document id; None fails. Keeps what it was asked."""

    answers: ClassVar[type[Any]] = Pointwise
    scores: Mapping[str, float | None]
    usage: Usage = field(default_factory=Usage)
    asked: list[str] = field(default_factory=list)

    def answer(self, requests: Sequence[Pointwise]) -> list[float | None]:
        self.asked += [request.candidate.document.id for request in requests]
        return [self.scores[request.candidate.document.id] for request in requests]


def table(*scores: float | None, depth: int | None = None) -> Reranker:
    """A reranker that gives documents d0, d1, … these scores."""
    return Reranker(strategy=ScoreAll(), scorer=Table({f"d{i}": s for i, s in enumerate(scores)}), depth=depth)


def world(n: int, queries: int = 1) -> tuple[list[Query], Run, dict[str, Document]]:
    """Queries that all found d0, d1, … in this order."""
    documents = {f"d{i}": Document(f"d{i}", f"text {i}") for i in range(n)}
    run = {f"q{j}": [(f"d{i}", float(n - i)) for i in range(n)] for j in range(queries)}
    return [Query(f"q{j}", f"query {j}") for j in range(queries)], run, documents


def order(run: Run, query: str = "q0") -> list[int]:
    """The documents of a list, by number."""
    return [int(document[1:]) for document, _ in run[query]]
