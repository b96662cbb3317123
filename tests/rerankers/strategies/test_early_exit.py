"""Early exit: whom it leaves out, and when it stops."""

from __future__ import annotations

import pytest

from rerankbench.rerankers.strategies.early_exit import EarlyExit
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Candidate, Document
from tests.rerankers.strategies.drive import Log, drive, in_order, mixed, number, oracle, upside_down, world


def _asked(log: Log) -> list[int]:
    return [number(request.candidates[0]) for request in log.requests]


def _with_scores(*scores: float) -> list[Candidate]:
    return [Candidate(Document(str(i), ""), i, score) for i, score in enumerate(scores)]


def test_without_limits_it_scores_all_at_once() -> None:
    for n in (0, 3, 10, 40):
        assert drive(EarlyExit(), world(n), oracle(mixed)) == drive(ScoreAll(), world(n), oracle(mixed))


def test_candidates_far_below_the_kth_are_left_out() -> None:
    scores = _with_scores(30, 20, 10, 9.6, 9.5, 9.4, 1)
    assert _asked(drive(EarlyExit(k=3, alpha=0.05), scores, oracle(in_order))) == [0, 1, 2, 3, 4]
    assert _asked(drive(EarlyExit(k=3, alpha=0.0), scores, oracle(in_order))) == [0, 1, 2]


def test_the_threshold_is_below_a_negative_score() -> None:
    scores = _with_scores(-1, -2, -10, -10.4, -11)
    assert _asked(drive(EarlyExit(k=3, alpha=0.05), scores, oracle(in_order))) == [0, 1, 2, 3]


def test_a_list_shorter_than_k_is_scored_whole() -> None:
    scores = _with_scores(100, 1, 0)
    assert _asked(drive(EarlyExit(k=4, alpha=0.0, beta=1), scores, oracle(in_order))) == [0, 1, 2]


@pytest.mark.parametrize(("beta", "asked"), [(1, 4), (2, 7), (3, 11)])
def test_it_stops_after_beta_misses_in_a_row(beta: int, asked: int) -> None:
    enters = {4, 7}  # the others from 3 on do not make the best three
    log = drive(EarlyExit(k=3, beta=beta), world(20), oracle(lambda i: 100.0 + i if i in enters else -float(i)))
    assert _asked(log) == list(range(asked))
    found = sorted(enters & set(_asked(log)), reverse=True)
    assert log.order == [*found, *(i for i in range(20) if i not in found)]


def test_a_tie_and_a_failure_do_not_enter() -> None:
    assert len(drive(EarlyExit(k=3, beta=2), world(20), oracle(lambda i: 1.0)).requests) == 5
    assert len(drive(EarlyExit(k=3, beta=2), world(20), lambda _: None).requests) == 5


def test_blocks_ask_ahead_and_all_they_scored_counts() -> None:
    log = drive(EarlyExit(k=3, beta=2, block=4), world(20), oracle(in_order))
    assert [len(asked) for asked in log.rounds] == [3, 4]
    late = drive(EarlyExit(k=3, beta=2, block=4), world(20), oracle(lambda i: 9.0 if i == 6 else -float(i)))
    assert len(late.requests) == 7
    assert late.order[0] == 6
    assert len(drive(EarlyExit(k=3, beta=2, block=5), world(20), oracle(upside_down)).rounds) == 5
