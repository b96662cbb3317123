"""A corpus of a file equals the records written, whether all of it is read or some of it is fetched."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.corpus import FileCorpus, MemoryCorpus, joined_fields
from rerankbench.errors import ConfigError, DataError
from rerankbench.types import Document

ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8) | st.integers(0, 99)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
records = st.lists(st.tuples(ids, texts, texts), min_size=1, unique_by=lambda record: str(record[0]))


@given(
    records,
    st.sampled_from(["_id", "id", "docid", "doc_id"]),
    st.sampled_from(["text", "contents", "body"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sets(st.integers(0, 30)),
)
def test_json_corpus_comes_back(
    documents: list[tuple[str | int, str, str]],
    id_key: str,
    text_key: str,
    id_first: bool,
    packed: bool,
    ascii_only: bool,
    chosen: set[int],
) -> None:
    rows = []
    for document_id, title, text in documents:
        record = {"title": title, text_key: text}
        record = {id_key: document_id, **record} if id_first else {**record, id_key: document_id}
        rows.append(json.dumps(record, ensure_ascii=ascii_only).encode())
    expected = [
        Document(str(document_id), " ".join(part for part in (title.strip(), text.strip()) if part))
        for document_id, title, text in documents
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "corpus"
        content = b"\xef\xbb\xbf" + b"\r\n".join(rows)
        path.write_bytes(gzip.compress(content) if packed else content)
        corpus = FileCorpus(path)
        corpus.check("benchmark.fields")
        assert list(corpus) == expected
        wanted = [document for index, document in enumerate(expected) if index in chosen]
        found = corpus.fetch([document.id for document in wanted] + ["\ud800", "not there"])
        assert found == {document.id: document for document in wanted}


@given(records, st.booleans())
def test_tables_come_back(documents: list[tuple[str | int, str, str]], with_title: bool) -> None:
    rows, expected = [], []
    for document_id, *parts in documents:
        columns = [" ".join(part.split()) for part in (parts if with_title else parts[1:])]
        if str(document_id).startswith(("{", "\ufeff")):
            continue
        rows.append("\t".join([str(document_id), *columns]))
        expected.append(Document(str(document_id), " ".join(part for part in columns if part)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.tsv"
        path.write_bytes("\n".join(rows).encode())
        if rows:
            assert list(FileCorpus(path)) == expected
            assert FileCorpus(path).fetch([expected[-1].id]) == {expected[-1].id: expected[-1]}


def test_fetch_stops_with_the_last_document_wanted(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\nnot json\n')
    assert set(FileCorpus(path).fetch(["a", "b"])) == {"a", "b"}
    with pytest.raises(DataError, match=r"corpus\.jsonl:3: not JSON"):
        FileCorpus(path).fetch(["c"])


def test_one_id_with_two_texts_is_an_error_naming_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "x", "text": "0"}\n{"_id": "a", "text": "1"}\n{"_id": "a", "text": "2"}\n')
    with pytest.raises(DataError, match=r":3: document 'a' has another text in line 2"):
        list(FileCorpus(path))


def test_one_document_given_twice_is_read_once_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "1"}\n' * 3)
    with caplog.at_level(logging.WARNING, "rerankbench"):
        assert list(FileCorpus(path)) == [Document("a", "1")]
    assert "2 repeated documents" in caplog.text


def test_fingerprint_follows_content_and_fields_but_not_the_place(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_text('{"_id": "a", "text": "1"}\n')
    same.write_text('{"_id": "a", "text": "1"}\n')
    other.write_text('{"_id": "a", "text": "2"}\n')
    assert FileCorpus(one).fingerprint() == FileCorpus(same).fingerprint() != FileCorpus(other).fingerprint()
    assert FileCorpus(one).fingerprint() != FileCorpus(one, ("text",)).fingerprint()
    memory = MemoryCorpus([Document("a", "1")])
    assert memory.fingerprint() == MemoryCorpus([Document("a", "1")]).fingerprint()
    assert memory.fingerprint() != MemoryCorpus([Document("a", "2")]).fingerprint()
    assert memory.fetch(["a", "b"]) == {"a": Document("a", "1")}


def test_a_misspelt_field_is_named_and_a_lacking_title_is_not(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "1", "abstract": "2"}\n')
    FileCorpus(path, ("title", "text")).check("benchmark.fields")
    assert next(iter(FileCorpus(path, ("abstract", "text")))).text == "2 1"
    with pytest.raises(ConfigError, match=r"benchmark\.fields.*did you mean 'abstract'"):
        FileCorpus(path, ("abstrct",)).check("benchmark.fields")
    with pytest.raises(ConfigError, match=r"benchmark\.fields"):
        FileCorpus(path, ("title",)).check("benchmark.fields")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no document"),
        ('{"text": "1"}\n', ":1: the document has no id"),
        ('{"_id": "a", "text": "1"}\n{"id": "b", "text": "1"}\n', ":2: the document has no '_id'"),
        ('{"_id": "a", "text": "1"}\n["b"]\n', ":2: expected a JSON object, found list"),
        ('{"_id": null, "text": "1"}\n', ":1: document id must be text"),
        ('{"_id": "a", "text": {"en": "1"}}\n', ":1: field 'text' holds dict"),
        ("a\tb\n\nc\td\te\n", ":3: found 3 columns, 2 in the first line"),
        ("a\n", ":1: expected JSON, or a table"),
    ],
)
def test_bad_corpora_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    corpus = FileCorpus(path)
    with pytest.raises(DataError) as caught:
        corpus.check("benchmark.fields")
        list(corpus)
    assert words in str(caught.value)


def test_lists_of_texts_and_numbers_are_joined() -> None:
    assert joined_fields({"title": 1984, "text": ["a", "b"]}, ("title", "text"), "file") == "1984 a b"
    assert joined_fields({"title": None, "contents": " a "}, ("title", "text"), "file") == "a"
