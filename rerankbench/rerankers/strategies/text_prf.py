"""Pseudo relevance feedback on the query's text, for any pointwise scorer (Li et al., arXiv 2108.11044)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Pointwise, Rounds, by_score
from rerankbench.rerankers.strategies.asking import OutOfBudget, ask
from rerankbench.retrievers.fuse import borda
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class TextPRF:
    """Assume the first `depth` candidates relevant, add their words to the query, score all with each new query.

    method: `ct`, one query with all the feedback texts; `ca`, one query for each text; `sw`, one query for each window
    of `width` words, `stride` apart, of all the texts. combine: how a document's scores become one.
    query_words: what the feedback part of a query is cut to; the query itself is never cut. include_original: let the
    plain query be one of the queries. feedback: take it from the list as it came, or from the plain query's reranking,
    which asks n more.
    """

    asks: ClassVar[type[Pointwise]] = Pointwise
    depth: Annotated[int, Ge(0)] = 3
    method: Literal["ct", "ca", "sw"] = "ca"
    combine: Literal["average", "max", "borda"] = "borda"
    query_words: Annotated[int, Ge(1)] = 256
    width: Annotated[int, Ge(1)] = 64
    stride: Annotated[int, Ge(1)] = 32
    include_original: bool = False
    feedback: Literal["incoming", "reranked"] = "incoming"

    def __post_init__(self) -> None:
        if self.method == "sw" and self.width > self.query_words:
            raise ConfigError("width", f"must not exceed query_words={self.query_words}, got {self.width}")

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask n times for each new query, all in one round; unscored candidates go last."""
        if not candidates:
            return by_score(candidates, {})
        incoming = candidates
        plain: dict[str, float | None] = {}
        try:
            if self.feedback == "reranked":
                answers = yield from ask([Pointwise(query, candidate) for candidate in candidates])
                plain = {c.document.id: a for c, a in zip(candidates, answers, strict=True)}
                incoming = by_score(candidates, plain).candidates
            queries = self.queries(query, incoming)
            answers = yield from ask([Pointwise(q, candidate) for q in queries for candidate in candidates])
        except OutOfBudget:
            return by_score(candidates, plain)
        n = len(candidates)
        lists = [
            {c.document.id: a for c, a in zip(candidates, answers[i : i + n], strict=True) if a is not None}
            for i in range(0, len(answers), n)
        ]
        if self.combine == "borda":
            lists = [_borda(candidates, scores) for scores in lists]
        return by_score(candidates, self._combined(lists))

    def queries(self, query: Query, candidates: Sequence[Candidate]) -> list[Query]:
        """The query with each of its expansions; the query as it is where there is nothing to expand it with."""
        texts = [candidate.document.text.split() for candidate in candidates[: self.depth]]
        parts = texts if self.method == "ca" or not texts else self._joined([word for text in texts for word in text])
        expanded = [query.with_text(" ".join([query.text, *part[: self.query_words]])) for part in parts]
        return [query, *expanded] if self.include_original or not expanded else expanded

    def _joined(self, words: Sequence[str]) -> list[Sequence[str]]:
        """All words, or windows of them, the last of which may be shorter."""
        if self.method == "ct":
            return [words]
        last = max(0, len(words) - self.width)
        return [words[start : start + self.width] for start in range(0, last + self.stride, self.stride)]

    def _combined(self, lists: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """One score for every document that some list has, from the lists that have it."""
        by_document: dict[str, list[float]] = {}
        for document, score in (item for scores in lists for item in scores.items()):
            by_document.setdefault(document, []).append(score)
        folds: dict[str, Callable[[list[float]], float]] = {"average": fmean, "max": max, "borda": fsum}
        return {document: folds[self.combine](scores) for document, scores in by_document.items()}


def _borda(candidates: Sequence[Candidate], scores: Mapping[str, float]) -> dict[str, float]:
    """Borda counts divided by n: 1 for the first of the n candidates, 1/n less for each rank below."""
    n = len(candidates)
    ids = [c.document.id for c in by_score(candidates, scores).candidates if c.document.id in scores]
    return {document: points / n for document, points in zip(ids, borda(len(ids), n), strict=True)}
