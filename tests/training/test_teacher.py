"""Teachers: a reranker's scores reach the groups, as they are, and by way of the file that it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError, DataError
from rerankbench.rerankers.requests import Answer, Failure, Pairwise, Pointwise
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.strategies.pairwise import AllPairs
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.training.false_negatives import Judge
from rerankbench.training.negatives import TopK
from rerankbench.training.sampling import GroupOptions, SampledGroups
from rerankbench.training.teacher import TeacherFile, TeacherReranker
from rerankbench.types import Qrels
from rerankbench.usage import Usage
from tests.training.world import built, source

TWO: Qrels = {"a": {"d1": 1, "d50": 1, "d60": 0}, "b": {"d2": 1}}


@dataclass
class Numbers(Scorer):
    """Scores a document by its number, 0.1 less for each, except those in `failing`."""

    answers: ClassVar[Any] = Pointwise
    failing: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    asked: list[str] = field(default_factory=list)

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One number a request."""
        self.asked += [f"{r.query.id} {r.candidate.document.id}" for r in requests]
        ids = [r.candidate.document.id for r in requests]
        return [Failure("no label") if d in self.failing else -0.1 * int(d[1:]) for d in ids]

    def fingerprint(self) -> str:
        """Of nothing but the class."""
        return "numbers"


def _teacher(scorer: Any, **options: Any) -> TeacherReranker:
    return TeacherReranker(reranker=Reranker(strategy=ScoreAll(), scorer=scorer, depth=2), **options)


def _rows(groups: SampledGroups) -> list[tuple[str, float]]:
    found = [groups.group(0, i) for i in range(len(groups))]
    return [(d.id, s) for g in found for d, s in zip(g.documents, g.teacher or (), strict=True)]


def test_a_reranker_scores_the_top_and_the_judged_documents_and_leaves_a_file(tmp_path: Path) -> None:
    scorer = Numbers()
    options = GroupOptions(size=4, negatives=TopK(k=5), teacher=_teacher(scorer, depth=5))
    groups = built(options, source(TWO), folder=tmp_path)
    top = {f"{query} d{i}" for query in "ab" for i in range(5)}
    assert set(scorer.asked) == top | {"a d50", "a d60"}, "however shallow the reranker itself is"
    assert len(scorer.asked) == groups.counts["teacher_scores"] == 12
    rows = _rows(groups)
    assert len(rows) == 12 and all(score == -0.1 * int(document[1:]) for document, score in rows)
    lines = [json.loads(line) for line in (tmp_path / "teacher.jsonl").read_text().splitlines()]
    assert len(lines) == 12 and {"query": "a", "document": "d50", "score": -5.0} in lines
    assert [path.name for path in tmp_path.iterdir() if "teacher" in path.name] == ["teacher.jsonl"]

    from_file = GroupOptions(size=4, negatives=TopK(k=5), teacher=TeacherFile(path=str(tmp_path / "teacher.jsonl")))
    again = built(from_file, source(TWO), folder=tmp_path)
    assert [again.group(1, i) for i in range(3)] == [groups.group(1, i) for i in range(3)]

    fresh = Numbers()
    built(GroupOptions(negatives=TopK(k=5), teacher=_teacher(fresh, depth=5)), source(TWO), folder=tmp_path)
    assert fresh.asked == [], "the store knows the answers"


def test_log_probabilities_become_probabilities(tmp_path: Path) -> None:
    teacher = _teacher(Numbers(), depth=50, probabilities=True)
    groups = built(GroupOptions(teacher=teacher), source(TWO), folder=tmp_path)
    assert all(score == math.exp(-0.1 * int(document[1:])) for document, score in _rows(groups))


def test_a_judge_mines_by_the_scores_that_the_group_carries(tmp_path: Path) -> None:
    options = GroupOptions(size=6, negatives=Judge(k=10, beta=0.15), teacher=_teacher(Numbers(), depth=10))
    groups = built(options, source({"b": {"d2": 1}}), folder=tmp_path)
    assert groups.counts["refused_as_false_negatives"] == 3, "d0, d1 and d3 score above d2 less 0.15"
    seen = {document.id for epoch in range(30) for document in groups.group(epoch, 0).documents}
    assert seen == {"d2", "d4", "d5", "d6", "d7", "d8", "d9"}


def test_pairs_that_failed_are_not_drawn_and_positives_that_failed_have_no_group(tmp_path: Path) -> None:
    teacher = _teacher(Numbers(failing=("d0", "d50")), depth=5)
    groups = built(GroupOptions(size=5, negatives=TopK(k=5), teacher=teacher), source(TWO), folder=tmp_path)
    assert {group.query.id for group in (groups.group(0, i) for i in range(len(groups)))} == {"a", "b"}
    assert sorted(document for document, _ in _rows(groups)) == ["d1", "d1", "d2", "d2", "d3", "d3", "d4", "d4"]
    counts = groups.counts
    assert counts["teacher_failed_answers"] == 3
    assert counts["positives_without_teacher_score"] == 1
    assert (counts["groups"], counts["groups_with_too_few_negatives"]) == (2, 2)


def test_training_sets_that_share_ids_do_not_share_scores(tmp_path: Path) -> None:
    one, other = source({"b": {"d2": 1}}, name="one"), source({"b": {"d3": 1}}, name="other")
    options = GroupOptions(size=3, negatives=TopK(k=5), teacher=_teacher(Numbers(), depth=5))
    groups = built(options, one, other, folder=tmp_path)
    path = tmp_path / "teacher.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["source"] for line in lines} == {"one", "other"}
    path.write_text("\n".join(json.dumps({**line, "score": 7}) for line in lines if line["source"] == "one"))
    mixed = built(GroupOptions(size=3, negatives=TopK(k=5), teacher=TeacherFile(path=str(path))), one, other)
    assert len(groups) == 2 and len(mixed) == 1
    assert (mixed.group(0, 0).source, mixed.group(0, 0).teacher) == ("one", (7.0, 7.0, 7.0))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"query": "b", "document": "d2", "score": 1}\n[]\n', ":2: expected a JSON object"),
        ('{"query": "b", "document": "d2"}\n', ":1: score None is not a number"),
        ('{"query": "b", "document": "d2", "score": NaN}\n', "is not a number"),
        ('{"document": "d2", "score": 1}\n', ":1: query must be text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "teacher.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as told:
        built(GroupOptions(teacher=TeacherFile(path=str(path))), source(TWO))
    assert problem in str(told.value)


def test_a_file_that_scores_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.jsonl"
    options = GroupOptions(teacher=TeacherFile(path=str(path)))
    with pytest.raises(ConfigError, match="no such file"):
        built(options, source(TWO))
    path.write_text('{"query": "z", "document": "d2", "score": 1}\n')
    with pytest.raises(ConfigError, match="scores no document of a training query"):
        built(options, source(TWO))
    path.write_text('{"query": "b", "document": "d2", "score": 1}\n')
    with pytest.raises(ConfigError, match="no group of toy has both a positive and a negative"):
        built(options, source(TWO))
    with pytest.raises(ConfigError, match="has no effect with in_batch"):
        GroupOptions(in_batch=True, teacher=TeacherFile(path=str(path)))


def test_teachers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError) as told:
        TeacherReranker(reranker=Reranker(strategy=AllPairs(), scorer=_Preference()))
    assert told.value.key == "reranker"
    with pytest.raises(ConfigError, match="depth: must be at least 1"):
        compose("train", ["recipe/groups/teacher=late_interaction", "recipe.groups.teacher.depth=0"])
    with pytest.raises(ConfigError, match="teacher: must be given"):
        GroupOptions(negatives=Judge())
    with pytest.raises(ConfigError, match="scores the top 5, but negatives come from the top 50; set depth=50"):
        GroupOptions(teacher=_teacher(Numbers(), depth=5))


class _Preference(Numbers):
    answers: ClassVar[Any] = Pairwise
