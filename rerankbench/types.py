"""What flows through the program, left to right; all of it frozen, so that nobody downstream can change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Qrels = dict[str, dict[str, int]]
"""Judgments: query id → document id → grade."""

Run = dict[str, list[tuple[str, float]]]
"""A ranking of documents for each query: query id → [(document id, score)], best first."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query as its collection gives it."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A document; `text` is its chosen fields, joined."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document at its first-stage rank (from 0) with its first-stage score, which nothing later changes."""

    document: Document
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """A reranked list: the candidates best first, with scores that never increase."""

    candidates: tuple[Candidate, ...]
    scores: tuple[float, ...]
