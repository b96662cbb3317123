"""The embedded benchmark: of the size and difficulty that were meant, the same each time, and without a trace."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.pydocs import PyDocs, split_of, standard_library, summary_and_rest
from rerankbench.errors import ConfigError
from tests.configured import configured


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return PyDocs().load()


def test_size_and_splits(benchmark: Benchmark) -> None:
    assert len(list(benchmark.corpus)) == benchmark.description["documents"] == len(standard_library())
    if sys.version_info[:2] == (3, 11):
        assert 1300 <= benchmark.description["documents"] <= 1800
    sizes = benchmark.description["queries"]
    assert 0.65 < sizes["train"] / sum(sizes.values()) < 0.75
    assert 0.07 < sizes["dev"] / sum(sizes.values()) < 0.13
    assert len(benchmark.queries) == sizes["test"]
    loaded = [PyDocs(split=split).load() for split in sizes]
    texts = [query.text for one in loaded for query in one.queries]
    assert len(texts) == len(set(texts)) == sum(sizes.values())
    judged = {document_id for one in loaded for grades in one.qrels.values() for document_id in grades}
    assert judged == {document.id for document in benchmark.corpus}


def test_names_are_public_unique_and_free_of_tests(benchmark: Benchmark) -> None:
    names = [document.id for document in benchmark.corpus]
    assert names == sorted(set(names))
    assert "textwrap.dedent" in names
    parts = {part for name in names for part in name.split(".")}
    assert not {part for part in parts if part.startswith("_")}
    assert not {"test", "tests", "idlelib", "turtledemo", "antigravity", "this"} & {
        name.split(".")[0] for name in names
    }


def test_texts_are_the_docstring_without_its_summary(benchmark: Benchmark) -> None:
    entries = {entry.name: entry for entry in standard_library()}
    assert entries["textwrap.dedent"].signature == "(text)"
    assert entries["textwrap.dedent"].summary == "Remove any common leading whitespace from every line in `text`."
    document = benchmark.corpus.fetch(["textwrap.dedent"])["textwrap.dedent"]
    assert document.text.startswith("textwrap.dedent(text) This can be used to make triple-quoted strings line up")
    bare = PyDocs(fields=("text",)).load().corpus.fetch(["textwrap.dedent"])["textwrap.dedent"]
    assert document.text == f"textwrap.dedent(text) {bare.text}"
    assert max(Counter((entry.summary, entry.rest) for entry in entries.values()).values()) == 1


def test_bm25_is_neither_lost_nor_perfect(benchmark: Benchmark) -> None:
    import bm25s

    documents = list(benchmark.corpus)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(bm25s.tokenize([d.text for d in documents], stopwords="en", show_progress=False), show_progress=False)
    queries = bm25s.tokenize([query.text for query in benchmark.queries], stopwords="en", show_progress=False)
    found, _ = index.retrieve(queries, k=10, show_progress=False)
    total = 0.0
    for query, row in zip(benchmark.queries, found, strict=True):
        grades = benchmark.qrels[query.id]
        gain = sum(grades.get(documents[position].id, 0) / log2(rank + 2) for rank, position in enumerate(row))
        total += gain / sum(1 / log2(rank + 2) for rank in range(min(10, len(grades))))
    assert 0.45 <= total / len(benchmark.queries) <= 0.65


def test_two_processes_agree_and_leave_no_trace() -> None:
    code = (
        "import sys; from rerankbench.benchmarks.pydocs import PyDocs; before = set(sys.modules); b = PyDocs().load();"
        "new = set(sys.modules) - before; assert not {'turtle', 'tkinter', 'antigravity', 'this'} & new, new;"
        "print(b.description, b.corpus.fingerprint(), b.queries)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "default", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("\n") == 1
    assert runs[0].stderr == ""


def test_wrong_split_and_field() -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.split: .*did you mean 'test'"):
        configured("benchmark", PyDocs, split="tset").load()
    with pytest.raises(ConfigError, match=r"benchmark\.fields: .*did you mean 'title'"):
        configured("benchmark", PyDocs, fields=["tilte", "text"]).load()


@given(st.text())
def test_summary_and_rest_are_the_whole_text(docstring: str) -> None:
    from inspect import cleandoc

    summary, rest = summary_and_rest(docstring)
    assert f"{summary} {rest}".split() == cleandoc(docstring).split()
    assert split_of(summary) in ("train", "dev", "test")


@pytest.mark.parametrize(
    ("docstring", "summary", "rest"),
    [
        ("Do it.  Then\n    rest.\n\n    More.", "Do it.", "Then rest. More."),
        ("Return x, e.g. 3.5 of it\nor so.", "Return x, e.g. 3.5 of it or so.", ""),
        ("No full stop\n\nRest", "No full stop", "Rest"),
    ],
)
def test_summaries(docstring: str, summary: str, rest: str) -> None:
    assert summary_and_rest(docstring) == (summary, rest)
