"""Windows and one shot."""

from __future__ import annotations

import pytest

from rerankbench.rerankers.strategies.listwise import SlidingWindow
from tests.rerankers.strategies.drive import best, drive, in_order, mixed, number, oracle, upside_down, world

SHAPES = [(20, 10), (10, 5), (7, 3), (5, 4), (9, 2), (4, 2), (2, 1)]


def _shown(n: int, window: int, stride: int) -> list[list[int]]:
    log = drive(SlidingWindow(window=window, stride=stride), world(n), oracle(in_order))
    return [[number(c) for c in request.candidates] for request in log.requests]


def test_the_last_window_is_shorter_and_not_shifted() -> None:
    assert _shown(25, 20, 10) == [[*range(5, 25)], [*range(15)]]
    assert _shown(10, 20, 10) == [[*range(10)]]
    assert _shown(6, 4, 2) == [[2, 3, 4, 5], [0, 1, 2, 3]]


@pytest.mark.parametrize(("window", "stride"), SHAPES)
def test_windows_reach_every_document_and_hold_two_or_more(window: int, stride: int) -> None:
    for n in range(2, 138):
        shown = _shown(n, window, stride)
        assert {i for one in shown for i in one} == set(range(n))
        assert all(2 <= len(one) <= window for one in shown)
        assert shown[-1][0] == 0
        assert all(one[0] > 0 for one in shown[:-1])


@pytest.mark.parametrize("relevance", [mixed, upside_down])
@pytest.mark.parametrize(("window", "stride"), SHAPES)
def test_one_pass_puts_the_overlap_in_place_and_more_passes_never_less(
    window: int, stride: int, relevance: object
) -> None:
    assert callable(relevance)
    for n in range(138):
        places = []
        for passes in (1, 2, 3):
            order = drive(SlidingWindow(window=window, stride=stride, passes=passes), world(n), oracle(relevance)).order
            wrong = (i for i, (a, b) in enumerate(zip(order, best(relevance, n), strict=True)) if a != b)
            places.append(next(wrong, n))
        assert places[0] >= (n if n <= window else window - stride)
        assert places == sorted(places)


def test_a_failed_window_stays_as_it_is() -> None:
    answers = iter([[1, 0, 2, 3], None])
    assert drive(SlidingWindow(window=4, stride=2), world(6), lambda _: next(answers)).order == [0, 1, 3, 2, 4, 5]
