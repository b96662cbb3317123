"""Long documents: every word is in a passage, and folding is what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Failure, Pointwise, Setwise
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.wrappers.passages import Passages, PassageScorer
from rerankbench.types import Candidate, Document, Picture, Query
from rerankbench.usage import Usage
from tests.configured import refused


@dataclass
class Counting(Scorer):
    """Scores a text by the number in its first word; texts that begin with a letter fail."""

    answers: ClassVar[Any] = Pointwise
    usage: Usage = field(default_factory=Usage)
    read: list[str] = field(default_factory=list)

    def answer(self, requests: Sequence[Pointwise]) -> list[float | Failure]:
        texts = [request.candidate.document.text for request in requests]
        self.read += texts
        return [float(t.split()[0]) if t.split()[0].isdigit() else Failure("no number") for t in texts]

    def fingerprint(self) -> str:
        return "counting"


def _request(text: str) -> Pointwise:
    return Pointwise(Query("q", "query"), Candidate(Document("d", text), 0, 1.0))


@given(n=st.integers(0, 60), words=st.integers(1, 12), stride=st.integers(1, 12))
def test_passages_cover_the_document_and_end_with_it(n: int, words: int, stride: int) -> None:
    stride = min(stride, words)
    text = " ".join(map(str, range(n)))
    passages = Passages(words=words, stride=stride).split(text)
    assert [w for w in text.split() if not any(w in p.split() for p in passages)] == []
    assert all(len(p.split()) <= words for p in passages)
    assert passages[-1].split()[-1:] == text.split()[-1:]
    if n <= words:
        assert passages == [text]
    else:
        assert len(passages) == math.ceil((n - words) / stride) + 1


@pytest.mark.parametrize(("fold", "expected"), [("max", 9.0), ("first", 1.0), ("sum", 15.0), ("mean", 7.0)])
def test_folds(fold: Any, expected: float) -> None:
    scorer = PassageScorer(Counting(), Passages(words=1, stride=1, fold=fold, top=2))
    assert scorer.answer([_request("1 9 5")]) == [expected]


def test_failed_passages_are_left_out_and_a_document_fails_only_as_a_whole() -> None:
    scorer = PassageScorer(Counting(), Passages(words=1, stride=1, fold="sum"))
    assert scorer.answer([_request("1 x 5"), _request("x y"), _request("7")]) == [6.0, Failure("no number"), 7.0]


def test_any_pointwise_reranker_takes_passages_and_no_other() -> None:
    documents = {"a": Document("a", "0 1 2"), "b": Document("b", "0 9 0"), "c": Document("c", "3")}
    run = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)]}
    scorer = Counting()
    reranker = Reranker(strategy=ScoreAll(), scorer=scorer, passages=Passages(words=1, stride=1))
    engine = Engine()
    assert [d for d, _ in engine.rerank(reranker, [Query("q", "query")], run, documents)["q"]] == ["b", "c", "a"]
    assert engine.counts.requests == 3
    assert sorted(scorer.read) == sorted(["0", "1", "2", "0", "9", "0", "3"])
    assert engine.scorers[0].usage is scorer.usage

    class Chooser(Counting):
        answers: ClassVar[Any] = Setwise

    with pytest.raises(ConfigError, match=r"^passages: wraps a scorer of Pointwise requests, .* answers Setwise$"):
        Reranker(strategy=ScoreAll(), scorer=Chooser(), passages=Passages())


def test_the_way_of_folding_is_part_of_the_fingerprint() -> None:
    prints = {
        PassageScorer(Counting(), Passages(words=w, stride=1, fold=f)).fingerprint()
        for w in (1, 2)
        for f in ("max", "sum")
    }
    assert len(prints) == 4


def test_tokens_are_those_of_all_passages_and_passages_are_prepared() -> None:
    prepared: list[str] = []

    class Weighed(Counting):
        def tokens(self, request: Pointwise) -> int:
            return len(request.candidate.document.text)

        def prepare(self, requests: Sequence[Pointwise]) -> None:
            prepared.extend(request.candidate.document.text for request in requests)

    scorer = PassageScorer(Weighed(), Passages(words=1, stride=1))
    assert scorer.tokens(_request("10 20 3")) == 5
    scorer.prepare([_request("10 20 3")])
    assert prepared == ["10", "20", "3"]
    assert PassageScorer(Counting(), Passages()).tokens(_request("10")) is None


def test_a_passage_keeps_metadata_pictures_and_first_stage() -> None:
    seen: list[Candidate] = []

    class Keeping(Counting):
        def answer(self, requests: Sequence[Pointwise]) -> list[float | Failure]:
            seen.extend(request.candidate for request in requests)
            return super().answer(requests)

    picture = Picture(b"picture")
    whole = Candidate(Document("d", ["1 2", picture], {"date": 2025}), 4, 2.5)
    PassageScorer(Keeping(), Passages(words=1, stride=1)).answer([Pointwise(Query("q", "query"), whole)])
    assert [c.document.parts for c in seen] == [("1", picture), ("2", picture)]
    assert {(c.document.id, c.document.metadata["date"], c.rank, c.score) for c in seen} == {("d", 2025, 4, 2.5)}


@pytest.mark.parametrize(
    ("options", "key"),
    [({"stride": 151}, "stride"), ({"stride": 0}, "stride"), ({"words": 0}, "words"), ({"top": 0}, "top")],
)
def test_options_out_of_range(options: dict[str, int], key: str) -> None:
    assert refused(Passages, **options) == key
