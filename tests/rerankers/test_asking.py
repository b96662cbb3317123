"""A request of each paradigm from a query and candidates."""

from __future__ import annotations

import pytest

from rerankbench.rerankers.asking import request_of
from rerankbench.rerankers.requests import Groupwise, Listwise, Pairwise, Pointwise, Setwise
from tests.rerankers.scorers.asked import QUERIES, candidates


def test_each_paradigm_shows_the_candidates_in_their_order() -> None:
    query, shown = QUERIES[0], candidates(2)
    assert request_of(query, shown[:1], Pointwise) == Pointwise(query, shown[0])
    assert request_of(query, shown, Pairwise) == Pairwise(query, *shown)
    assert request_of(query, list(shown), Setwise) == Setwise(query, shown)
    assert request_of(query, shown, Listwise, top=1) == Listwise(query, shown, 1)
    assert request_of(query, shown, Groupwise) == Groupwise(query, shown)


@pytest.mark.parametrize(("paradigm", "n"), [(Pointwise, 2), (Pointwise, 0), (Pairwise, 3)])
def test_another_number_of_candidates_is_refused(paradigm: type, n: int) -> None:
    with pytest.raises(ValueError, match="unpack"):
        request_of(QUERIES[0], candidates(n), paradigm)
