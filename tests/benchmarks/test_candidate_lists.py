"""Candidate lists of rank_llm and Rankify come back as written, best first."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.candidate_lists import read_candidate_lists
from rerankbench.errors import DataError
from rerankbench.types import Document

scores = st.floats(-9, 9)
lists = st.lists(
    st.lists(st.tuples(st.integers(0, 30), scores), unique_by=lambda pair: pair[0]), min_size=1, max_size=4
)


def rank_llm(number: int, pairs: list[tuple[int, float]]) -> dict[str, Any]:
    return {
        "query": {"text": f"query {number}", "qid": number},
        "candidates": [{"docid": f"d{n}", "score": score, "doc": {"contents": f"text {n}"}} for n, score in pairs],
    }


def rankify(number: int, pairs: list[tuple[int, float]]) -> dict[str, Any]:
    return {
        "question": f"query {number}",
        "answers": ["yes"],
        "ctxs": [
            {"id": f"d{n}", "title": "", "text": f"text {n}", "score": str(score), "has_answer": n % 2 == 0}
            for n, score in pairs
        ],
    }


@given(lists, st.sampled_from([rank_llm, rankify]), st.sampled_from(["lines", "array", "indented"]), st.booleans())
def test_lists_come_back(all_pairs: list[list[tuple[int, float]]], form: Any, layout: str, packed: bool) -> None:
    records = [form(number, pairs) for number, pairs in enumerate(all_pairs)]
    if layout == "lines":
        content = "\n".join(json.dumps(record) for record in records)
    else:
        content = json.dumps(records, indent=1 if layout == "indented" else None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lists.json"
        path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        read = read_candidate_lists(path)
    assert [(query.id, query.text) for query in read.queries] == [
        (str(number), f"query {number}") for number in range(len(records))
    ]
    for number, pairs in enumerate(all_pairs):
        expected = sorted(((f"d{n}", score) for n, score in pairs), key=lambda pair: -pair[1])
        assert read.run[str(number)] == expected
        if form is rankify and pairs:
            assert read.qrels[str(number)] == {f"d{n}": int(n % 2 == 0) for n, _ in pairs}
    assert read.documents == {f"d{n}": Document(f"d{n}", f"text {n}") for pairs in all_pairs for n, _ in pairs}
    assert form is rankify or read.qrels == {}


def test_one_record_over_several_lines_is_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(rank_llm(7, [(1, 2.0)]), indent=2))
    assert read_candidate_lists(path).run == {"7": [("d1", 2.0)]}


def test_lists_without_scores_are_in_order_of_rank(tmp_path: Path) -> None:
    record = rank_llm(1, [(3, 0), (1, 0), (2, 0)])
    for candidate in record["candidates"]:
        del candidate["score"]
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(record))
    assert [document_id for document_id, _ in read_candidate_lists(path).run["1"]] == ["d3", "d1", "d2"]


def test_a_candidate_given_twice_keeps_its_first_place_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(rank_llm(1, [(3, 1.0), (1, 2.0), (3, 5.0)])))
    read = read_candidate_lists(path)
    assert read.run == {"1": [("d1", 2.0), ("d3", 1.0)]}
    assert read.repeated == 1


GOOD = json.dumps(rank_llm(1, [(1, 1.0)]))


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("", "", "no candidate list"),
        (GOOD + "\n\n" + GOOD, ":3", "query '1' was given before"),
        (GOOD + '\n{"_id": "d1", "text": "a document"}', ":2", "not a candidate list"),
        (GOOD + '\n{"query"', ":2", "not JSON"),
        (f"[\n{GOOD},\n{{}}\n]", "", "record 1: not a candidate list"),
        ('[\n{"query": }\n]', ":2", "not JSON"),
        (GOOD.replace("1.0", '"high"'), ":1", "score 'high' is not a number"),
        (GOOD.replace('"d1"', "null"), ":1", "docid of candidate 0"),
        (GOOD.replace('"qid": 1', '"id": 1'), ":1", "qid must be"),
        (GOOD + "\n" + json.dumps(rank_llm(2, [(1, 1.0)])).replace("text 1", "else"), ":2", "another text"),
        ('{"query": {"text": "a", "qid": "1"}, "candidates": ["d1"]}', ":1", "list of objects"),
    ],
)
def test_errors_name_the_record(tmp_path: Path, content: str, place: str, words: str) -> None:
    path = tmp_path / "lists.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_candidate_lists(path)
    assert f"{path}{place}: " in str(caught.value)
    assert words in str(caught.value)
