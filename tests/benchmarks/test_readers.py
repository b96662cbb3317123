"""The readers return what was written, in every accepted spelling, and name the line of what they cannot take."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.readers import read_qrels, read_queries, read_run, well_formed
from rerankbench.errors import DataError

ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8).filter(
    lambda text: (
        text.lower() not in {"query-id", "query_id", "queryid", "qid", "query", "topic", "id", "_id"}
        and not text.startswith(("{", "<", "\ufeff"))
        and text.lower() not in {"doc_id", "docid", "corpus-id"}
    )
)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
one_line = texts.map(lambda text: " ".join(text.split())).filter(lambda text: "\0" not in text)


def written(content: str | bytes, name: str, packed: bool, folder: str) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path = Path(folder) / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


@given(st.dictionaries(ids, texts, min_size=1), st.booleans(), st.booleans(), st.booleans())
def test_json_queries_come_back(queries: dict[str, str], packed: bool, ascii_only: bool, bom: bool) -> None:
    rows = [
        json.dumps({"_id": query_id, "text": text, "metadata": {"n": len(text)}}, ensure_ascii=ascii_only)
        for query_id, text in queries.items()
    ]
    with TemporaryDirectory() as folder:
        path = written("\ufeff" * bom + "\n\n".join(rows) + "\n", "queries.jsonl", packed, folder)
        read = read_queries(path)
    assert {query.id: query.text for query in read} == queries
    assert [query.id for query in read] == list(queries)
    assert all(query.metadata == {"n": len(query.text)} for query in read)


@given(st.dictionaries(ids, one_line.filter(bool), min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_tabbed_queries_come_back(queries: dict[str, str], end: str, header: bool) -> None:
    rows = ["query_id\ttext"] * header + [f"{query_id}\t{text}" for query_id, text in queries.items()]
    with TemporaryDirectory() as folder:
        path = written(end.join(rows), "queries.tsv", False, folder)
        assert {query.id: query.text for query in read_queries(path)} == queries


grades = st.integers(-2, 4)


@given(
    st.dictionaries(ids, st.dictionaries(ids, grades, min_size=1), min_size=1),
    st.sampled_from(["{q}\t{d}\t{g}", "{q} 0 {d} {g}", "{q}\t0\t{d}\t{g}", "{q} 0  {d}\t{g}.0", "{q}\t{d}\t{g} "]),
    st.sampled_from(["", "query-id\tcorpus-id\tscore\n"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_qrels_come_back(qrels: dict[str, dict[str, int]], row: str, header: str, end: str, packed: bool) -> None:
    if row.count("{") + row.count("0") > 3 and header:
        header = "query-id iteration corpus-id score\n"
    rows = [row.format(q=q, d=d, g=g) for q, judged in qrels.items() for d, g in judged.items()]
    with TemporaryDirectory() as folder:
        path = written(header + end.join(rows), "qrels", packed, folder)
        assert read_qrels(path) == qrels


scores = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1), min_size=1))
def test_runs_come_back_best_first_with_ties_in_file_order(run: dict[str, dict[str, float]]) -> None:
    rows = [f"{q} Q0 {d} 0 {s!r} tag" for q, ranking in run.items() for d, s in ranking.items()]
    with TemporaryDirectory() as folder:
        read = read_run(written("\n".join(rows), "run.trec", False, folder))
    for query_id, ranking in run.items():
        position = {document_id: index for index, document_id in enumerate(ranking)}
        assert dict(read[query_id]) == ranking
        order = [(-score, position[document_id]) for document_id, score in read[query_id]]
        assert order == sorted(order)


@given(st.binary(max_size=200), st.sampled_from([read_queries, read_qrels, read_run]))
def test_any_bytes_are_read_or_refused(content: bytes, read: object) -> None:
    with TemporaryDirectory() as folder:
        path = written(content, "file", False, folder)
        try:
            read(path)  # type: ignore[operator]
        except DataError as error:
            assert str(path) in str(error)


def test_topics_give_titles_and_keep_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "topics"
    path.write_text(
        "<top>\n\n<num> Number: 301\n<title> International\nOrganized Crime\n\n"
        "<desc> Description:\nWho is it?\n</top>\n"
        "<top><num>302</num><title>Poliomyelitis</title></top>\n"
    )
    first, second = read_queries(path)
    assert (first.id, first.text, first.metadata) == ("301", "International Organized Crime", {"desc": "Who is it?"})
    assert (second.id, second.text) == ("302", "Poliomyelitis")


@pytest.mark.parametrize(
    ("read", "content", "place", "words"),
    [
        (read_qrels, "q1\td1\t1\n\nq1\td2\tx\n", ":3:", 'grade "x" is not an integer (fields are: query, document'),
        (read_qrels, "q1 0 d1 1\nq1 0 d2 0.5\n", ":2:", "iteration"),
        (read_qrels, "q1 0 d1 1\nq1 0 d1 2\n", ":2:", "grades 1 and 2"),
        (read_qrels, "q1 d1 1\nq1 0 d1 2\n", ":2:", "found 4 columns"),
        (read_qrels, "q1\n", ":1:", "expected 3 columns"),
        (read_qrels, "query-id\tcorpus-id\tscore\n", ":", "no judgment"),
        (read_run, "q1 Q0 d1 1 2.5 tag\nq1 Q0 d1 2 2.4 tag\n", ":2:", "twice"),
        (read_run, "q1 Q0 d1 1 nan tag\n", ":1:", "not a number"),
        (read_run, "q1 Q0 d1 1 2.5\n", ":1:", "found 5 columns"),
        (read_queries, '{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n', ":2:", "another text"),
        (read_queries, '{"_id": "1", "text": "a"}\n{"text": "b"}\n', ":2:", "no id"),
        (read_queries, '{"_id": "1", "text": "a"}\n{"_id": "2", "te\n', ":2:", "not JSON"),
        (read_queries, '{"_id": "a b", "text": "a"}\n', ":1:", "white space"),
        (read_queries, '{"_id": "\\ud800", "text": "a"}\n', ":1:", "Unicode"),
        (read_queries, b'{"_id": "1", "text": "a"}\n{"_id": "2", "text": "\xff"}\n', ":2:", "not UTF-8"),
        (read_queries, "1\tgood\n2 bad\n", ":2:", "tab"),
        (read_queries, "", ":", "no query"),
        (read_queries, "<top>\n<num> 1\n</top>\n<top><num> 2 <title> t</top>", ":1:", "<title>"),
        (read_queries, gzip.compress(b"1\tgood\n" * 999, mtime=0)[:-9], ":", "gzip"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, read: object, content: str | bytes, place: str, words: str) -> None:
    path = written(content, "file", False, str(tmp_path))
    with pytest.raises(DataError) as caught:
        read(path)  # type: ignore[operator]
    assert f"{path}{place}" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repetitions_that_agree_are_merged(tmp_path: Path) -> None:
    qrels = tmp_path / "qrels"
    qrels.write_text("q1 d1 1\nq1 d1 1.0\n")
    queries = tmp_path / "queries"
    queries.write_text('{"_id": 1, "text": "a"}\n{"_id": "1", "text": "a"}\n')
    assert read_qrels(qrels) == {"q1": {"d1": 1}}
    assert [query.id for query in read_queries(queries)] == ["1"]


@given(st.text(st.characters()))
def test_well_formed_text_can_be_written(text: str) -> None:
    mended = well_formed(text)
    assert mended.encode().decode() == mended
    assert well_formed(mended) == mended
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert mended == text
