"""The oracle's answers to all five questions agree with the judgments, and with one another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rerankbench.rerankers.requests import Groupwise, Listwise, Pairwise, Pointwise, Setwise
from rerankbench.rerankers.scorers.oracle import Oracle
from rerankbench.types import Candidate, Document, Query
from tests.configured import refused

QUERY = Query("q", "text")
GRADES = {"d0": 1, "d1": 3, "d2": 3, "d3": 2}  # d4 is unjudged
SHOWN = tuple(Candidate(Document(f"d{i}", ""), i, 0.0) for i in range(5))


def _oracle(**options: Any) -> Oracle:
    benchmark: Any = SimpleNamespace(qrels={"q": GRADES})
    return Oracle(benchmark=benchmark, **options)


def test_every_question() -> None:
    requests = [
        *(Pointwise(QUERY, candidate) for candidate in SHOWN),
        Pairwise(QUERY, SHOWN[1], SHOWN[0]),
        Pairwise(QUERY, SHOWN[0], SHOWN[1]),
        Pairwise(QUERY, SHOWN[1], SHOWN[2]),
        Setwise(QUERY, SHOWN),
        Setwise(QUERY, SHOWN[::-1]),
        Listwise(QUERY, SHOWN),
        Listwise(QUERY, SHOWN, top=2),
        Listwise(QUERY, SHOWN[::-1], top=1),
        Groupwise(QUERY, SHOWN),
    ]
    assert _oracle().answer(requests) == [
        *[1.0, 3.0, 3.0, 2.0, 0.0],
        *[1.0, 0.0, 0.5],
        *[1, 2],
        [1, 2, 3, 0, 4],
        [1, 2, 0, 3, 4],
        [2, 0, 1, 3, 4],
        [1.0, 3.0, 3.0, 2.0, 0.0],
    ]


def test_noise_is_fixed_by_the_seed_and_the_same_for_every_question() -> None:
    oracle = _oracle(noise=2.0, seed=1)
    (scores,) = oracle.answer([Groupwise(QUERY, SHOWN)])
    assert oracle.answer([Pointwise(QUERY, candidate) for candidate in SHOWN]) == scores
    assert oracle.answer([Listwise(QUERY, SHOWN)]) == [sorted(range(5), key=lambda i: -scores[i])]
    assert oracle.answer([Setwise(QUERY, SHOWN)]) == [scores.index(max(scores))]
    assert oracle.answer([Pairwise(QUERY, SHOWN[0], SHOWN[1])]) == [float(scores[0] > scores[1])]
    assert _oracle(noise=2.0, seed=2).answer([Groupwise(QUERY, SHOWN)]) != [scores]


def test_negative_noise_is_refused() -> None:
    assert refused(Oracle, noise=-1.0) == "noise"
