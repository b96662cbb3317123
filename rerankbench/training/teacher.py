"""Teachers: another model's scores of the training candidates, computed by a reranker or read from a file.

The file has JSON lines {"query": id, "document": id, "score": number}, with a "source" where there are several
training sets. A pair without a score is not drawn, and a positive without one has no group; both are counted.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

from annotated_types import Ge

from rerankbench.benchmarks.readers import byte_lines, finite, identifier, json_object
from rerankbench.errors import ConfigError, key_of
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Pointwise, Request, Rounds, by_order
from rerankbench.rerankers.reranker import AnyReranker, Reranker
from rerankbench.store import Store
from rerankbench.training.sources import PreparedSource
from rerankbench.types import Candidate, Query

FILE = "teacher.jsonl"

Scores = dict[str, dict[str, float]]
"""Query id → document id → score."""


class Teacher(Protocol):
    """A configured teacher."""

    def reach(self) -> int | None:
        """How deep into the first-stage list it scores; None for as deep as its file goes."""
        ...

    def scores(
        self, sources: Sequence[PreparedSource], store: Store, folder: Path, counts: Counter[str]
    ) -> list[Scores]:
        """The scores for each training set."""
        ...


@dataclass(frozen=True, kw_only=True)
class TeacherFile:
    """Scores from a file, such as the `teacher.jsonl` of another run folder."""

    path: str

    def reach(self) -> None:
        """As deep as the file goes."""

    def scores(
        self, sources: Sequence[PreparedSource], store: Store, folder: Path, counts: Counter[str]
    ) -> list[Scores]:
        """The scores of the training queries. DataError for a bad line, ConfigError where it has none of them."""
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ConfigError(key_of(self, "path"), f"no such file: {path}")
        queries = [{query.id for query in source.queries} for source in sources]
        scores: list[Scores] = [{} for _ in sources]
        for number, line in byte_lines(path):
            record = json_object(path, line, number)
            query = identifier(record.get("query"), path, number, "query")
            document = identifier(record.get("document"), path, number, "document")
            score = finite(record.get("score"), path, number)
            for index, source in enumerate(sources):
                if query in queries[index] and record.get("source", source.name) == source.name:
                    scores[index].setdefault(query, {})[document] = score
        counts["teacher_scores"] += sum(len(of_query) for of_source in scores for of_query in of_source.values())
        if not any(scores):
            raise ConfigError(key_of(self, "path"), f"{path} scores no document of a training query")
        return scores


@dataclass(frozen=True, kw_only=True)
class TeacherReranker:
    """Scores of a pointwise reranker for the first-stage top `depth` and the judged documents of each query.

    The reranker's depth and budget are ignored. probabilities: its scores are log-probabilities, as of `yes_no`;
    take their exponential. Writes `teacher.jsonl` to the run folder.
    """

    reranker: AnyReranker
    depth: Annotated[int, Ge(1)] = 50
    probabilities: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.reranker, Reranker) or self.reranker.strategy.asks is not Pointwise:
            raise ConfigError("reranker", "a teacher must score documents one by one: needs strategy pointwise")

    def reach(self) -> int:
        """The depth."""
        return self.depth

    def scores(
        self, sources: Sequence[PreparedSource], store: Store, folder: Path, counts: Counter[str]
    ) -> list[Scores]:
        """The scores of each training set; answers come from the store where it has them. Failed ones are left out."""
        scores = [self._scores(source, store, counts) for source in sources]
        counts["teacher_scores"] += sum(len(of_query) for of_source in scores for of_query in of_source.values())
        unfinished = folder / f".{FILE}.{os.getpid()}"  # every process of a training writes the same
        with unfinished.open("w", encoding="utf-8") as file:
            for source, of_source in zip(sources, scores, strict=True):
                name = {"source": source.name} if len(sources) > 1 else {}
                for query, of_query in of_source.items():
                    for document, score in of_query.items():
                        line = {**name, "query": query, "document": document, "score": score}
                        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        unfinished.replace(folder / FILE)
        return scores

    def _scores(self, source: PreparedSource, store: Store, counts: Counter[str]) -> Scores:
        assert isinstance(self.reranker, Reranker)
        strategy = _ScoresOnly()
        reranker = replace(self.reranker, strategy=strategy, depth=None, max_requests=None, max_tokens=None)
        run = {query.id: self._candidates(source, query) for query in source.queries}
        Engine(store).rerank(reranker, source.queries, run, source.documents)
        asked = sum(len(ranking) for ranking in run.values())
        counts["teacher_failed_answers"] += asked - sum(len(scores) for scores in strategy.scores.values())
        if not self.probabilities:
            return strategy.scores
        return {q: {d: math.exp(score) for d, score in scores.items()} for q, scores in strategy.scores.items()}

    def _candidates(self, source: PreparedSource, query: Query) -> list[tuple[str, float]]:
        listed = {d: s for d, s in source.first_stage.get(query.id, ())[: self.depth] if d in source.documents}
        judged = {d: 0.0 for d in source.grades[query.id] if d in source.documents}
        return list({**listed, **{d: s for d, s in judged.items() if d not in listed}}.items())


@dataclass(frozen=True)
class _ScoresOnly:
    """A strategy that keeps the scorer's answers: a ranking would give failed ones a score, too."""

    asks: ClassVar[type[Pointwise]] = Pointwise
    scores: Scores = field(default_factory=dict)

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        asked: list[Request] = [Pointwise(query, candidate) for candidate in candidates]
        answers = ((yield asked) if asked else None) or []
        pairs = zip(candidates, answers, strict=bool(answers))
        self.scores[query.id] = {c.document.id: float(score) for c, score in pairs if score is not None}
        return by_order(candidates)
