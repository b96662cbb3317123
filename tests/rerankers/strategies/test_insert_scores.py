"""First-stage scores in the text: each document keeps its own, whatever its place."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import Any

import pytest

from rerankbench.rerankers.strategies.insert_scores import InsertScores
from rerankbench.rerankers.strategies.listwise import OneShot, SlidingWindow
from rerankbench.rerankers.strategies.tournament import Tournament
from rerankbench.types import Candidate, Document
from tests.rerankers.strategies.drive import drive, mixed, number, oracle, world

SCORES = [12.3456, 8.0, 8.0, 0.5, -1.0]


def _candidates(scores: list[float]) -> list[Candidate]:
    return [Candidate(Document(str(i), f"text {i}"), i, score) for i, score in enumerate(scores)]


def _shown(scores: list[float], **options: Any) -> list[str]:
    log = drive(InsertScores(strategy=OneShot(), **options), _candidates(scores), oracle(mixed))
    return [candidate.document.text for candidate in log.requests[0].candidates]


def test_three_decimals_in_front_of_the_text() -> None:
    shown = _shown(SCORES)
    assert shown[0] == "(BM25 score: 12.346) text 0"
    assert shown[4] == "(BM25 score: -1.000) text 4"


def test_scales_are_over_the_whole_list() -> None:
    def numbers(scale: str) -> list[float]:
        return [float(text.split(")")[0].rpartition(" ")[2]) for text in _shown(SCORES, scale=scale)]

    assert numbers("minmax01") == pytest.approx([(s + 1) / 13.3456 for s in SCORES], abs=6e-4)
    assert numbers("minmax100") == pytest.approx([100 * (s + 1) / 13.3456 for s in SCORES], abs=6e-4)
    assert numbers("z") == pytest.approx([(s - fmean(SCORES)) / pstdev(SCORES) for s in SCORES], abs=6e-4)


@pytest.mark.parametrize("scale", ["minmax01", "minmax100", "z"])
def test_equal_scores_are_one(scale: str) -> None:
    assert _shown([4.0, 4.0], scale=scale) == ["(BM25 score: 1.000) text 0", "(BM25 score: 1.000) text 1"]


@pytest.mark.parametrize(
    "inner", [SlidingWindow(window=4, stride=2, passes=2), Tournament(rounds=2), OneShot()], ids=str
)
def test_every_document_shows_its_own_score_and_the_order_is_the_inner_strategys(inner: Any) -> None:
    log = drive(InsertScores(strategy=inner), world(50), oracle(mixed))
    for request in log.requests:
        for candidate in request.candidates:
            i = number(candidate)
            assert candidate.document.text == f"(BM25 score: {50 - i:.3f}) text {i}"
    plain = drive(inner, world(50), oracle(mixed))
    assert (log.order, log.scores, len(log.requests)) == (plain.order, plain.scores, len(plain.requests))


def test_braces_in_a_text_are_text() -> None:
    candidates = [Candidate(Document(str(i), "{score} {text} {0.x}"), i, float(-i)) for i in range(2)]
    log = drive(InsertScores(strategy=OneShot(), template="[{score}] {text}"), candidates, oracle(mixed))
    assert log.requests[0].candidates[0].document.text == "[0.000] {score} {text} {0.x}"
