"""Teachers: another model's scores of the training candidates, computed by a reranker or read from a file.

The file has JSON lines {"query": id, "document": id, "score": number}, with a "source" where there are several
training sets. A pair that it lacks is never drawn, and a positive without a score has no group; both are counted.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from rerankbench.benchmarks.readers import byte_lines, finite, identifier, json_object
from rerankbench.errors import ConfigError
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Pointwise, Request, Rounds, by_order
from rerankbench.rerankers.reranker import AnyReranker, Reranker
from rerankbench.store import Store
from rerankbench.training.sources import Material
from rerankbench.types import Candidate, Query

FILE = "teacher.jsonl"

Scores = dict[str, dict[str, float]]
"""Query id → document id → score."""


class Teacher(Protocol):
    """A configured teacher."""

    def reach(self) -> int | None:
        """How deep into the first-stage list it scores; None for as deep as its file goes."""
        ...

    def scores(self, materials: Sequence[Material], store: Store, folder: Path, counts: Counter[str]) -> list[Scores]:
        """The scores for each training set."""
        ...


@dataclass(frozen=True, kw_only=True)
class TeacherFile:
    """Scores from a file, such as the `teacher.jsonl` of another run folder."""

    path: str

    def reach(self) -> None:
        """As deep as the file goes."""

    def scores(self, materials: Sequence[Material], store: Store, folder: Path, counts: Counter[str]) -> list[Scores]:
        """The scores of the training queries. Raises DataError for a bad line, ConfigError where none is of use."""
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ConfigError("recipe.groups.teacher.path", f"no such file: {path}")
        names = [material.name for material in materials]
        wanted = [{query.id for query in material.queries} for material in materials]
        found: list[Scores] = [{} for _ in materials]
        for number, line in byte_lines(path):
            record = json_object(path, line, number)
            query = identifier(record.get("query"), path, number, "query")
            document = identifier(record.get("document"), path, number, "document")
            score = finite(record.get("score"), path, number)
            for place, name in enumerate(names):
                if query in wanted[place] and record.get("source", name) == name:
                    found[place].setdefault(query, {})[document] = score
        counts["teacher_scores"] += sum(len(scores) for source in found for scores in source.values())
        if not any(found):
            raise ConfigError("recipe.groups.teacher.path", f"{path} scores no document of a training query")
        return found


@dataclass(frozen=True, kw_only=True)
class TeacherReranker:
    """Scores of a pointwise reranker for the first-stage top `depth` and the judged documents of each query.

    The reranker's own depth and budget play no part. probabilities: its scores are log-probabilities, as of `yes_no`;
    take their exponential. Writes `teacher.jsonl` to the run folder.
    """

    reranker: AnyReranker
    depth: int = 50
    probabilities: bool = False

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ConfigError("depth", f"must be at least 1, got {self.depth}")
        if not isinstance(self.reranker, Reranker) or self.reranker.strategy.asks is not Pointwise:
            raise ConfigError("reranker", "a teacher must score documents one by one: needs strategy pointwise")

    def reach(self) -> int:
        """The depth."""
        return self.depth

    def scores(self, materials: Sequence[Material], store: Store, folder: Path, counts: Counter[str]) -> list[Scores]:
        """The scores of each training set; answers come from the store where it has them. Failed ones are left out."""
        found = [self._scores(material, store, counts) for material in materials]
        counts["teacher_scores"] += sum(len(scores) for source in found for scores in source.values())
        half_written = folder / f".{FILE}.{os.getpid()}"  # every process of a training writes the same
        with half_written.open("w", encoding="utf-8") as file:
            for material, source in zip(materials, found, strict=True):
                name = {"source": material.name} if len(materials) > 1 else {}
                for query, scores in source.items():
                    for document, score in scores.items():
                        line = {**name, "query": query, "document": document, "score": score}
                        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        half_written.replace(folder / FILE)
        return found

    def _scores(self, material: Material, store: Store, counts: Counter[str]) -> Scores:
        assert isinstance(self.reranker, Reranker)
        listening = _ScoresOnly()
        reranker = replace(self.reranker, strategy=listening, depth=None, max_requests=None, max_tokens=None)
        run = {query.id: self._candidates(material, query) for query in material.queries}
        Engine(store).rerank(reranker, material.queries, run, material.documents)
        asked = sum(len(ranking) for ranking in run.values())
        counts["teacher_failed_answers"] += asked - sum(len(scores) for scores in listening.scores.values())
        if not self.probabilities:
            return listening.scores
        return {q: {d: math.exp(score) for d, score in one.items()} for q, one in listening.scores.items()}

    def _candidates(self, material: Material, query: Query) -> list[tuple[str, float]]:
        listed = {d: s for d, s in material.first_stage.get(query.id, ())[: self.depth] if d in material.documents}
        judged = {d: 0.0 for d in material.grades[query.id] if d in material.documents}
        return list({**listed, **{d: s for d, s in judged.items() if d not in listed}}.items())


@dataclass(frozen=True)
class _ScoresOnly:
    """A strategy that keeps what the scorer says: a ranking would give failed answers a score, too."""

    asks: ClassVar[type[Pointwise]] = Pointwise
    scores: Scores = field(default_factory=dict)

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        asked: list[Request] = [Pointwise(query, candidate) for candidate in candidates]
        answers = ((yield asked) if asked else None) or []
        pairs = zip(candidates, answers, strict=bool(answers))
        self.scores[query.id] = {c.document.id: float(score) for c, score in pairs if score is not None}
        return by_order(candidates)
