"""A given TREC run, ordered as trec_eval orders it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import DataError
from rerankbench.retrievers.run_file import RunFile, trec_order
from rerankbench.store import Store
from tests.configured import refused
from tests.retrievers.toy import toy

ROWS = "q1 Q0 a 1 0.5 x\nq1 Q0 b 2 0.5 x\nq1 Q0 c 3 0.9 x\nother Q0 a 1 1 x\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.run"
    path.write_text(ROWS)
    return path


@given(st.dictionaries(st.text("abc", min_size=1), st.one_of(st.floats(-3, 3), st.just(1e300), st.just(1 + 1e-12))))
def test_order_is_trec_evals_and_scores_never_increase(scores: dict[str, float]) -> None:
    found = trec_order(list(scores.items()))
    assert sorted(d for d, _ in found) == sorted(scores)
    for (first, left), (second, right) in pairwise(found):
        assert left > right or (left == right and first > second)
    assert dict(found) == pytest.approx(
        {d: min(s, 3.4028234663852886e38) for d, s in scores.items()}, rel=1e-6, abs=1e-37
    )


def test_ties_by_document_id_descending_and_absent_queries_empty(file: Path, tmp_path: Path) -> None:
    run = RunFile(path=str(file)).retrieve(toy({}, {"q1": "x", "q2": "y"}), Store(tmp_path))
    assert {query: [d for d, _ in ranking] for query, ranking in run.items()} == {"q1": ["c", "b", "a"], "q2": []}
    cut = RunFile(path=str(file), k=1).retrieve(toy({}, {"q1": "x"}), Store(tmp_path))
    assert [d for d, _ in cut["q1"]] == ["c"]


def test_candidate_lists_keep_all_their_documents_and_no_other(file: Path, tmp_path: Path) -> None:
    lists = {"q1": ["z", "a", "y", "c"], "q2": ["b", "a"]}
    run = RunFile(path=str(file), k=1).retrieve(toy({}, {"q1": "x", "q2": "y"}, lists), Store(tmp_path))
    assert [d for d, _ in run["q1"]] == ["c", "a", "z", "y"]
    assert [d for d, _ in run["q2"]] == ["b", "a"]
    assert all(left[1] >= right[1] for left, right in pairwise(run["q1"]))


def test_the_fingerprint_is_of_the_content(file: Path) -> None:
    before = RunFile(path=str(file)).fingerprint()
    copy = file.with_name("copy.run")
    copy.write_text(ROWS)
    assert RunFile(path=str(copy)).fingerprint() == before
    copy.write_text(ROWS.replace("0.9", "0.8"))
    assert RunFile(path=str(copy)).fingerprint() != before


def test_a_bad_file_is_named_with_its_line(file: Path, tmp_path: Path) -> None:
    file.write_text(ROWS + "q1 Q0 d 4\n")
    with pytest.raises(DataError, match=r"some\.run:5: found 4 columns"):
        RunFile(path=str(file)).retrieve(toy({}, {"q1": "x"}), Store(tmp_path))
    with pytest.raises(DataError, match="no such run file"):
        RunFile(path=str(tmp_path / "no.run")).fingerprint()
    assert refused(RunFile, path=str(file), k=0) == "k"
