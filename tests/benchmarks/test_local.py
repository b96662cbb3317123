"""Benchmarks from files: every layout gives the same benchmark, and every mistake one clear line."""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rerankbench.benchmarks.local import Local
from rerankbench.errors import ConfigError, DataError, UserError
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Document, Query
from rerankbench.usage import Usage
from tests.configured import configured

DATA = Path(os.environ.get("RERANKBENCH_DATA") or Path(__file__).parents[3] / "shared" / "data")
COLLECTIONS = sorted(path.name for path in DATA.iterdir() if (path / "qrels").is_dir()) if DATA.is_dir() else []

DOCUMENTS = [("d1", "Cats", "They purr."), ("d2", "Dogs", "They bark."), ("d3", "", "Nothing here.")]
QUERIES = [("1", "who purrs"), ("2", "who barks"), ("3", "not judged")]
TEST = [("1", "d1", 2), ("1", "d2", 0), ("2", "d2", 1)]


def jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in BEIR layout."""
    path = tmp_path / "pets-v1.1"
    (path / "qrels").mkdir(parents=True)
    (path / "corpus.jsonl").write_text(jsonl([{"_id": i, "title": t, "text": x} for i, t, x in DOCUMENTS]))
    (path / "queries.jsonl").write_text(jsonl([{"_id": i, "text": t, "metadata": {"no": i}} for i, t in QUERIES]))
    rows = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in TEST)
    (path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    (path / "qrels" / "train.tsv").write_text("3\td3\t1\n")
    return path


def test_a_folder_in_beir_layout(folder: Path) -> None:
    benchmark = Local(path=str(folder)).load()
    assert benchmark.name == "pets-v1.1"
    assert benchmark.queries == (Query("1", "who purrs"), Query("2", "who barks"))
    assert benchmark.queries[0].metadata == {"no": "1"}
    assert benchmark.qrels == {"1": {"d1": 2, "d2": 0}, "2": {"d2": 1}}
    assert list(benchmark.corpus) == [
        Document("d1", "Cats They purr."),
        Document("d2", "Dogs They bark."),
        Document("d3", "Nothing here."),
    ]
    assert benchmark.candidates is None
    assert benchmark.description["judged_pairs"] == 3
    assert set(benchmark.description["sha256"]) == {"corpus", "queries", "qrels"}
    json.dumps(benchmark.description)
    assert [query.id for query in Local(path=str(folder), split="train").load().queries] == ["3"]
    assert next(iter(Local(path=str(folder), fields=["text"]).load().corpus)).text == "They purr."


def test_other_fields_are_metadata_and_leave_the_fingerprint_as_it_is(folder: Path) -> None:
    before = Local(path=str(folder)).load()
    rows = [
        {"_id": i, "title": t, "text": x, "date": f"2025-01-0{i[1]}", "metadata": {"source": "zoo"}}
        for i, t, x in DOCUMENTS
    ]
    (folder / "rich.jsonl").write_text(jsonl(rows))
    query = {"_id": "1", "text": "who purrs", "instruction": "no lions", "asked": 3, "metadata": {"no": "1"}}
    (folder / "rich_queries.jsonl").write_text(jsonl([query]))
    rich = Local(path=str(folder), corpus_file="rich.jsonl", queries_file="rich_queries.jsonl").load()
    assert list(rich.corpus) == list(before.corpus), "metadata is no part of the content"
    found = rich.corpus.fetch(["d2"])["d2"]
    assert (found.text, found.metadata) == ("Dogs They bark.", {"date": "2025-01-02", "source": "zoo"})
    assert (rich.queries[0].instruction, rich.queries[0].metadata) == ("no lions", {"asked": 3, "no": "1"})
    dated = Local(path=str(folder), corpus_file="rich.jsonl", fields=["date", "text"]).load()
    assert next(iter(dated.corpus)).text == "2025-01-01 They purr."
    assert next(iter(dated.corpus)).metadata == {"source": "zoo"}, "a field that is in the text is not kept twice"


def test_metadata_reach_the_scorer(folder: Path) -> None:
    (folder / "rich.jsonl").write_text(jsonl([{"_id": i, "text": x, "year": int(i[1])} for i, _, x in DOCUMENTS]))

    class Newest(Scorer):
        answers: ClassVar[Any] = Pointwise
        reads: ClassVar[frozenset[str]] = frozenset({"metadata.year"})
        usage = Usage()

        def answer(self, requests: Sequence[Pointwise]) -> list[float]:
            return [float(request.candidate.document.metadata["year"]) for request in requests]

    benchmark = Local(path=str(folder), corpus_file="rich.jsonl").load()
    run = {query.id: [(i, 0.0) for i, _, _ in DOCUMENTS] for query in benchmark.queries}
    documents = benchmark.corpus.fetch([i for i, _, _ in DOCUMENTS])
    reranker = Reranker(strategy=ScoreAll(), scorer=Newest())
    assert Engine().rerank(reranker, benchmark.queries, run, documents)["1"] == [("d3", 3.0), ("d2", 2.0), ("d1", 1.0)]


def test_gzipped_files_and_trec_judgments_give_the_same(folder: Path) -> None:
    expected = Local(path=str(folder)).load()
    documents = list(expected.corpus)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        plain = folder / name
        plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    packed = Local(path=str(folder)).load()
    (folder / "qrels" / "test.tsv.gz").unlink()
    rows = "".join(f"{q} 0 {d} {g}\n" for q, d, g in TEST)
    for name in ("qrels/test.txt", "qrels/test.qrels", "qrels/test.tsv", "qrels.txt", "qrels.test.txt"):
        (folder / name).write_text(rows)
        trec = Local(path=str(folder)).load()
        (folder / name).unlink()
        for benchmark in (packed, trec):
            assert (benchmark.queries, benchmark.qrels) == (expected.queries, expected.qrels)
            assert list(benchmark.corpus) == documents


def test_single_files_in_trec_style(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Local(path=str(folder)).load()
    (tmp_path / "docs.tsv").write_text("".join("\t".join(document) + "\n" for document in DOCUMENTS))
    (tmp_path / "topics.txt").write_text("".join(f"<top><num>{i}<title>{t}\n</top>\n" for i, t in QUERIES))
    (tmp_path / "topics.tsv").write_text("".join(f"{i}\t{t}\n" for i, t in QUERIES))
    (tmp_path / "judged").write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in TEST))
    monkeypatch.chdir(tmp_path)
    for queries_file in ("topics.txt", "topics.tsv"):
        benchmark = Local(corpus_file="docs.tsv", queries_file=queries_file, qrels_file="judged").load()
        assert (benchmark.name, benchmark.queries, benchmark.qrels) == ("docs", expected.queries, expected.qrels)
        assert list(benchmark.corpus) == list(expected.corpus)
    # an option replaces one file of a folder; names are looked up in the folder first
    (folder / "topics.tsv").write_text("2\tanother text\n")
    assert Local(path=str(folder), queries_file="topics.tsv").load().queries == (Query("2", "another text"),)


def test_candidates_from_a_trec_run(folder: Path) -> None:
    (folder / "bm25.trec").write_text("1 Q0 d3 1 0.5 x\n1 Q0 d1 2 0.9 x\n1 Q0 d2 3 0.5 x\n")
    benchmark = Local(path=str(folder), candidates_file="bm25.trec").load()
    assert benchmark.candidates == {"1": [("d1", 0.9), ("d3", 0.5), ("d2", 0.5)], "2": []}
    assert benchmark.missing["queries_without_candidates"] == 1


def rank_llm(folder: Path) -> Path:
    path = folder / "lists.json"
    candidates = [
        {"docid": i, "score": s, "doc": {"title": t, "segment": x}}
        for (i, t, x), s in zip(DOCUMENTS, (1, 3, 2), strict=True)
    ]
    path.write_text(json.dumps([{"query": {"text": t, "qid": i}, "candidates": candidates} for i, t in QUERIES[:2]]))
    return path


def test_lists_of_rank_llm_with_a_judgment_file(folder: Path) -> None:
    path = rank_llm(folder)
    benchmark = Local(path=str(path), qrels_file=str(folder / "qrels" / "test.tsv")).load()
    assert benchmark.name == "lists"
    assert benchmark.candidates == {q: [("d2", 3.0), ("d3", 2.0), ("d1", 1.0)] for q in ("1", "2")}
    assert benchmark.corpus.fetch(["d1"]) == {"d1": Document("d1", "Cats They purr.")}
    assert benchmark.qrels["1"] == {"d1": 2, "d2": 0}
    beside = Local(path=str(folder), candidates_file="lists.json").load()
    assert beside.candidates == benchmark.candidates
    assert list(beside.corpus) == list(Local(path=str(folder)).load().corpus)


def test_lists_of_rankify_bring_their_judgments(tmp_path: Path) -> None:
    path = tmp_path / "nq.jsonl.gz"
    contexts = [{"id": i, "title": t, "text": x, "score": "1.5", "has_answer": i == "d1"} for i, t, x in DOCUMENTS]
    path.write_bytes(gzip.compress(jsonl([{"question": "who purrs", "answers": ["cats"], "ctxs": contexts}]).encode()))
    benchmark = Local(path=str(path)).load()
    assert benchmark.qrels == {"0": {"d1": 1, "d2": 0, "d3": 0}}
    assert benchmark.candidates == {"0": [("d1", 1.5), ("d2", 1.5), ("d3", 1.5)]}
    assert benchmark.queries[0].metadata == {"answers": ["cats"]}


def test_a_wrong_split_is_answered_with_the_splits_there_are(folder: Path) -> None:
    with pytest.raises(ConfigError) as near:
        configured("benchmark", Local, path=str(folder), split="tset").load()
    assert near.value.key == "benchmark.split"
    assert "did you mean 'test'?" in str(near.value) and "test, train" in str(near.value)
    with pytest.raises(ConfigError, match=r"choose from: test, train$"):
        configured("benchmark", Local, path=str(folder), split="validation").load()


def test_what_is_missing_is_named_with_its_nearest_neighbour(folder: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'pets-v1\.1'\?"):
        configured("benchmark", Local, path=str(folder.parent / "pets-v1.2")).load()
    with pytest.raises(DataError, match=r"in .*: did you mean 'pets-v1\.1'\?"):
        configured("benchmark", Local, path=str(folder.parent / "pets-v1.2" / "deeper" / "still")).load()
    with pytest.raises(DataError, match=r"did you mean 'corpus\.jsonl'\?"):
        configured("benchmark", Local, path=str(folder), corpus_file="corpus.json").load()
    with pytest.raises(DataError, match="is a folder"):
        configured("benchmark", Local, path=str(folder), corpus_file="qrels").load()
    (folder / "queries.jsonl").rename(folder / "topics.jsonl")
    with pytest.raises(DataError, match=r"queries\.jsonl: no such file.*benchmark\.queries_file"):
        configured("benchmark", Local, path=str(folder)).load()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "benchmark.path: is not set"),
        ({"corpus_file": "corpus.jsonl"}, "benchmark.qrels_file: is not set"),
        ({"corpus_file": "corpus.jsonl", "qrels_file": "qrels/test.tsv"}, "benchmark.queries_file: is not set"),
        ({"path": "lists.json"}, "benchmark.qrels_file: is not set"),
        ({"path": "lists.json", "candidates_file": "lists.json"}, "benchmark.candidates_file"),
        ({"path": "qrels/test.tsv"}, "neither a folder nor candidate lists"),
        ({"path": "corpus.jsonl"}, "corpus.jsonl:1: not a candidate list"),
        ({"path": ".", "fields": ("titel", "text")}, "benchmark.fields: no document has a field 'titel'"),
        ({"path": "qrels"}, "no judgments"),
    ],
)
def test_mistakes_get_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], words: str
) -> None:
    rank_llm(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as caught:
        configured("benchmark", Local, **options).load()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_corpus_that_is_not_english_is_pointed_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "corpus.jsonl").write_text(jsonl([{"_id": "d1", "title": "BBC", "text": "猫はのどを鳴らす動物です"}]))
    with caplog.at_level(logging.WARNING, "rerankbench"):
        configured("benchmark", Local, path=str(folder), language="ja").load()
        assert not caplog.records
        configured("benchmark", Local, path=str(folder)).load()
    assert [record.name for record in caplog.records] == ["rerankbench"]
    assert "benchmark.language" in caplog.text


@pytest.mark.skipif(not COLLECTIONS, reason="no collections: set RERANKBENCH_DATA to their folder")
@pytest.mark.parametrize("name", COLLECTIONS or [""])
def test_the_collections_load_whole(name: str) -> None:
    for judgments in (DATA / name / "qrels").glob("*.tsv"):
        benchmark = Local(path=str(DATA / name), split=judgments.stem).load()
        rows = [row.split("\t") for row in judgments.read_text(encoding="utf-8").splitlines()[1:]]
        assert {query.id for query in benchmark.queries} == {row[0] for row in rows}
        assert {(q, d, str(g)) for q, grades in benchmark.qrels.items() for d, g in grades.items()} == set(
            map(tuple, rows)
        )
        assert benchmark.missing["judged_queries_not_found"] == 0
        documents = {document.id: document for document in benchmark.corpus}
        with gzip.open(DATA / name / "corpus.jsonl.gz") as lines:
            assert len(documents) == sum(1 for _ in lines)
        judged = {row[1] for row in rows}
        assert benchmark.corpus.fetch(judged) == {document_id: documents[document_id] for document_id in judged}
