"""rank_bm25: a second opinion on BM25, with the same cut, ties and candidate lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.retrievers.bm25 import BM25
from rerankbench.retrievers.rank_bm25 import RankBM25
from rerankbench.store import Store
from tests.configured import configured, refused
from tests.retrievers.test_bm25 import TEXTS
from tests.retrievers.toy import toy

QUERIES = {"a": "cat mat", "b": "bird river river", "c": "zebra", "d": "the"}


def test_plus_is_bm25s_plus_on_the_documents_that_match(tmp_path: Path) -> None:
    benchmark, store = toy(TEXTS, QUERIES), Store(tmp_path)
    ours = RankBM25(variant="plus", delta=1.0).retrieve(benchmark, store)
    theirs = BM25(method="bm25+", delta=1.0).retrieve(benchmark, store)
    assert {query: dict(ranking) for query, ranking in ours.items()} == {
        query: pytest.approx(dict(ranking), rel=1e-5) for query, ranking in theirs.items()
    }


@pytest.mark.parametrize("variant", ["okapi", "l", "plus"])
def test_only_matching_documents_best_first_cut_at_k(variant: Any, tmp_path: Path) -> None:
    run = RankBM25(variant=variant).retrieve(toy(TEXTS, QUERIES), Store(tmp_path))
    assert {document for document, _ in run["a"]} == set(TEXTS) - {"d5"}
    assert run["c"] == run["d"] == []
    for ranking in run.values():
        assert ranking == sorted(ranking, key=lambda pair: (pair[1], pair[0]), reverse=True)
    cut = RankBM25(variant=variant, k=2).retrieve(toy(TEXTS, QUERIES), Store(tmp_path))
    assert cut["a"] == run["a"][:2]


def test_candidate_lists_keep_all_their_documents(tmp_path: Path) -> None:
    given = {"a": ["d5", "absent", "d3"], "c": ["d2", "d1"]}
    queries = {query: QUERIES[query] for query in given}
    run = RankBM25(k=1).retrieve(toy(TEXTS, queries, given), Store(tmp_path))
    assert sorted(d for d, _ in run["a"]) == sorted(given["a"])
    assert [d for d, _ in run["c"]] == given["c"]


def test_a_corpus_without_terms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"retriever\.analyzer: leaves no term"):
        configured("retriever", RankBM25).retrieve(toy({"d1": "the"}, {"q": "cat"}), Store(tmp_path))
    assert refused(RankBM25, k=0) == "k"
