"""Rerankers for applications, from Python and through a pipe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rerankbench import load_reranker
from rerankbench.commands.rerank import rerank_lines
from rerankbench.errors import ConfigError, DataError
from rerankbench.library import read_documents


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reranker that puts shorter documents first."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "reranker").mkdir(parents=True)
    (folder / "brief.py").write_text(
        "from rerankbench.rerankers.requests import Pointwise\n"
        "from rerankbench.rerankers.scorer import Scorer\n"
        "from rerankbench.usage import Usage\n\n"
        "class Brief(Scorer):\n"
        "    answers = Pointwise\n\n"
        "    def __init__(self, weight: float = 1.0):\n"
        "        self.weight, self.usage = weight, Usage()\n\n"
        "    def answer(self, requests):\n"
        "        return [-self.weight * len(r.candidate.document.text) for r in requests]\n"
    )
    (folder / "reranker" / "brief.yaml").write_text(
        "# Shorter first\ndefaults:\n  - strategy: pointwise\n_target_: rerankbench.rerankers.reranker.Reranker\n"
        "depth: null\nscorer: {_target_: brief.Brief, weight: 1.0}\n"
    )
    return folder


def test_texts_are_ranked_with_their_places(mine: Path) -> None:
    reranker = load_reranker("brief", "reranker.scorer.weight=2", config_dirs=[mine])
    ranked = reranker.rank("q", ["three words here", "one", {"id": "x", "title": "two", "text": "words"}])
    assert [(one.index, one.id, one.text) for one in ranked] == [
        (1, "1", "one"),
        (2, "x", "two words"),
        (0, "0", "three words here"),
    ]
    assert [one.score for one in ranked] == [-6.0, -18.0, -32.0]
    assert reranker.rank("q", []) == []
    assert [len(ranking) for ranking in reranker.rank_all([("a", ["x"]), ("b", []), ("a", ["x", "yy"])])] == [1, 0, 2]


def test_the_given_order_or_the_given_scores_are_the_first_stage() -> None:
    reranker = load_reranker("identity")
    assert [one.index for one in reranker.rank("q", ["b", "a"])] == [0, 1]
    scored = [{"text": "b", "score": 1}, {"text": "a", "score": 2.5}]
    assert [(one.index, one.score) for one in reranker.rank("q", scored)] == [(1, 2.5), (0, 1.0)]


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bi_encoder'"):
        load_reranker("bi_encodr")
    with pytest.raises(ConfigError, match="needs a benchmark"):
        load_reranker("oracle")
    reranker = load_reranker("identity")
    with pytest.raises(DataError, match="document 1 has no text"):
        reranker.rank("q", ["a", {"id": "x"}])
    with pytest.raises(DataError, match="twice"):
        reranker.rank("q", [{"id": "x", "text": "a"}, {"id": "x", "text": "b"}])


def _through_a_pipe(text: bytes, overrides: list[str], folders: list[Path]) -> str:
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    sink = io.StringIO()
    try:
        rerank_lines(overrides, folders, read, sink)
    finally:
        os.close(read)
    return sink.getvalue()


def test_lines_in_lines_out(mine: Path) -> None:
    lines = [{"query": "q", "documents": ["long text", "short"], "qid": 7}, {"query": "é", "documents": []}]
    text = "\n\n".join(json.dumps(line) for line in lines).encode()
    first, second = map(json.loads, _through_a_pipe(text, ["reranker=brief"], [mine]).splitlines())
    assert first["qid"] == 7
    assert [row["index"] for row in first["ranking"]] == [1, 0]
    assert second == {"query": "é", "ranking": []}


@pytest.mark.parametrize(
    ("line", "words"),
    [(b"{", "stdin:2: not JSON"), (b"[]", "stdin:2: expected"), (b'{"query": "q"}', "stdin:2: documents"),
     (b'{"query": "q", "documents": [{"id": 1}]}', "document 0 has no text")],
)  # fmt: skip
def test_a_bad_line_is_named(line: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        _through_a_pipe(b'{"query": "q", "documents": ["a"]}\n' + line + b"\n", ["reranker=identity"], [])
    assert words in str(caught.value)


def test_a_conversation_is_answered_line_by_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rerankbench", "rerank", "reranker=identity"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for query in ("one", "two"):
            process.stdin.write(json.dumps({"query": query, "documents": ["a", "b"]}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["query"] == query
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_the_lines_before_a_bad_one_that_came_with_it_are_answered() -> None:
    read, write = os.pipe()
    os.write(write, b'{"query": "q", "documents": ["a"]}\n{"query": "q", "documents": [3]}\n')
    os.close(write)
    sink = io.StringIO()
    with pytest.raises(DataError, match=r"^stdin:2: documents: document 0 must be"):
        rerank_lines(["reranker=identity"], [], read, sink)
    os.close(read)
    assert len(sink.getvalue().splitlines()) == 1


def test_lone_surrogates_do_no_harm() -> None:
    line = rb'{"query": "\ud800", "documents": ["\ud800"], "x": "\ud800"}'
    text = _through_a_pipe(line, ["reranker=identity"], [])
    assert json.loads(text.encode())["ranking"][0]["text"] == "\ufffd"


def test_other_fields_of_a_document_are_its_metadata() -> None:
    item = {"id": "x", "title": "T", "text": "t", "score": 1, "date": "2025-01-31", "metadata": {"source": "wiki"}}
    (document,) = read_documents([item])
    assert (document.id, document.text) == ("x", "T t")
    assert document.metadata == {"date": "2025-01-31", "source": "wiki"}
