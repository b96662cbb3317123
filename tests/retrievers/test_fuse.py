"""The mathematics of fusing rankings."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rerankbench.retrievers.fuse import append_tail, borda, minmax, reciprocal_ranks

scores = st.lists(st.floats(-1e6, 1e6), max_size=20)


@given(scores=scores)
def test_minmax_brings_scores_to_0_and_1(scores: list[float]) -> None:
    brought = minmax(scores)
    assert len(brought) == len(scores)
    if len(set(scores)) > 1:
        assert (min(brought), max(brought)) == (0.0, 1.0)
        assert sorted(scores) == [score for _, score in sorted(zip(brought, scores, strict=True))]
    else:
        assert set(brought) <= {0.5}
        assert set(minmax(scores, least_range=1e-9)) <= {0.0}


def test_credits_of_ranks() -> None:
    assert borda(3) == [3.0, 2.0, 1.0]
    assert borda(2, total=5) == [5.0, 4.0]
    assert reciprocal_ranks(2, k=60) == [1 / 61, 1 / 62]


@given(head=scores, tail=scores)
def test_a_tail_follows_below_in_its_order(head: list[float], tail: list[float]) -> None:
    ranked = [(i, score) for i, score in enumerate(sorted(head, reverse=True))]
    rest = [(len(ranked) + i, score) for i, score in enumerate(tail)]
    whole = append_tail(ranked, rest)
    assert [item for item, _ in whole] == list(range(len(head) + len(tail)))
    if head:
        assert whole[: len(head)] == ranked
        assert all(a[1] >= b[1] for a, b in pairwise(whole))
    else:
        assert whole == rest
