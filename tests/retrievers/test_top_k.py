"""The best k in trec_eval's order, at the cut too."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.retrievers.top_k import ordered, tie_ranks, top_k

SCORES = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e6, 1e6), st.just(1 + 1e-12))


@given(st.lists(SCORES, min_size=1, max_size=40), st.integers(1, 45), st.randoms(), st.booleans())
def test_rows_come_by_float32_score_then_document_id(values: list[float], k: int, random: Random, some: bool) -> None:
    ids = [f"d{number}" for number in range(len(values))]
    random.shuffle(ids)
    matched = np.array([int(d[1:]) % 3 > 0 for d in ids]) if some else None
    rows = top_k(np.array(values), k, tie_ranks(ids), matched)
    allowed = [row for row in range(len(ids)) if matched is None or matched[row]]
    expected = sorted(allowed, key=lambda row: (np.float32(values[row]), ids[row]), reverse=True)
    assert rows == expected[:k]


@given(st.lists(SCORES, max_size=40))
def test_a_given_list_keeps_all_its_documents_and_the_order_of_ties(values: list[float]) -> None:
    ids = [f"d{number}" for number in range(len(values))]
    found = ordered(ids, values)
    assert sorted(found) == sorted(zip(ids, values, strict=True))
    assert found == sorted(found, key=lambda pair: (-pair[1], ids.index(pair[0])))


def test_places_are_those_of_ids_descending() -> None:
    assert tie_ranks(["d1", "d3", "d10", "d2"]).tolist() == [3, 0, 2, 1]
    assert tie_ranks([]).tolist() == []
