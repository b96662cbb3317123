"""The /rerank scorer, and whole evaluations over HTTP: what is asked, and that the key is nowhere to be found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rerankbench.cli import main
from rerankbench.errors import ConfigError
from rerankbench.models.endpoint import client as http_client
from rerankbench.rerankers.requests import Failure, Pointwise
from rerankbench.rerankers.scorers.rerank_endpoint import RerankEndpoint
from rerankbench.types import Candidate, Document, Query
from tests.conftest import QUERIES, ROOT
from tests.models.toy_model import on_cpu
from tests.models.toy_server import KEY, ToyServer, overlap


@pytest.fixture
def server() -> Iterator[ToyServer]:
    with ToyServer() as toy:
        yield toy


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.01)


def ask(scorer: RerankEndpoint, pairs: list[tuple[str, str]]) -> list[Any]:
    return list(
        scorer.answer(
            [
                Pointwise(Query(query, query), Candidate(Document(f"d{i}", text), i, 0.0))
                for i, (query, text) in enumerate(pairs)
            ]
        )
    )


PAIRS = [("cat mat", "no"), ("dog", "a dog"), ("cat mat", "cat"), ("cat mat", "cat mat"), ("dog", "dog dog")]


@pytest.mark.parametrize("shape", ["cohere", "tei"])
def test_scores_find_their_documents_whatever_the_order_of_the_results(server: ToyServer, shape: Any) -> None:
    scorer = RerankEndpoint(model=server.endpoint(), shape=shape)
    assert [int(score) for score in ask(scorer, PAIRS)] == [overlap(*pair) for pair in PAIRS]
    assert len(server.bodies()) == 2
    assert scorer.usage.forward_passes == 2
    body = server.bodies()[0]
    if shape == "tei":
        assert (body["truncate"], body["raw_scores"]) == (True, True)
    else:
        assert body["top_n"] == len(body["documents"])
        assert scorer.usage.prompt_tokens == sum(len(text.split()) for _, text in PAIRS)


def test_a_call_holds_documents_of_one_query_and_not_too_many(server: ToyServer) -> None:
    scorer = RerankEndpoint(model=server.endpoint(), documents_per_call=2)
    ask(scorer, [("cat", "a")] * 5 + [("dog", "b")] * 3)
    assert sorted((b["query"], len(b["documents"])) for b in server.bodies()) == [
        ("cat", 1), ("cat", 2), ("cat", 2), ("dog", 1), ("dog", 2),
    ]  # fmt: skip


def test_a_document_without_a_score_is_a_failure(server: ToyServer) -> None:
    scorer = RerankEndpoint(model=server.endpoint(retries=0, concurrency=1))
    found = ask(scorer, [("cat", "cat"), ("cat", "lost"), ("cat", "x")])
    assert (found[1], isinstance(found[0], float)) == (Failure("no score"), True)
    odd = [{"index": 7, "relevance_score": 1}, {"index": 0, "relevance_score": "high"}, {"index": True, "score": 2},
           3, {"index": 1, "relevance_score": 5}, {"index": 1, "relevance_score": 6}]  # fmt: skip
    server.trouble.append((200, {}, json.dumps({"results": odd})))
    assert ask(scorer, [("cat", "a"), ("cat", "b")]) == [Failure("no score"), 5.0]
    server.trouble.extend([None, "malformed"])
    assert ask(scorer, [("cat", "cat"), ("dog", "x")])[1] == Failure("no score")


def test_documents_are_cut_to_the_context(server: ToyServer) -> None:
    scorer = RerankEndpoint(model=server.endpoint(context=30))
    ask(scorer, [("cat", "word " * 90), ("cat", "short")])
    assert server.bodies()[0]["documents"] == [("word " * 21).strip(), "short"]
    assert scorer.usage.truncated_inputs == 1
    with pytest.raises(ConfigError, match=r"context: 30 tokens"):
        ask(scorer, [("cat " * 30, "word " * 90)])


def test_only_an_endpoint_will_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model=http"):
        RerankEndpoint(model=on_cpu(str(tmp_path)))  # type: ignore[arg-type]


@pytest.fixture
def evaluate(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`rerankbench eval` in this process, with the key given in the environment."""
    monkeypatch.chdir(tiny.parent)

    def run(reranker: str, run_dir: str, key: str, *words: str) -> int:
        monkeypatch.setenv("TOY_KEY", key)
        return main([*_words(tiny, reranker, run_dir), *words])

    return run


def _words(tiny: Path, reranker: str, run_dir: str) -> list[str]:
    model = ["model=http", "model.name=toy", "model.api_key_env=TOY_KEY"]
    record = ["tracking=none", f"run_dir={run_dir}", "keep_answers=true"]
    return ["eval", "benchmark=local", f"benchmark.path={tiny}", f"reranker={reranker}", *record, *model]


def test_whole_runs_leave_no_trace_of_the_key(
    server: ToyServer, tiny: Path, evaluate: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    server.key = KEY
    at = f"model.url={server.url}"
    done = subprocess.run(
        [sys.executable, "-m", "rerankbench", *_words(tiny, "rerank_endpoint", "one"), at],
        cwd=tiny.parent, env={**os.environ, "PYTHONPATH": str(ROOT), "TOY_KEY": KEY},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {headers["Authorization"] for _, headers, _ in server.seen} == {f"Bearer {KEY}"}
    assert len(server.seen) == len(QUERIES)

    unknown = {"content": [{"token": "Maybe", "top_logprobs": [{"token": "Maybe", "logprob": -0.1}]}]}
    server.trouble.append((200, {}, json.dumps({"choices": [{"logprobs": unknown}]})))
    assert evaluate("yes_no", "two", KEY, at) == 0
    cost = json.loads((tiny.parent / "two" / "cost.json").read_text())
    assert cost["failures"] == {"no label": 1}
    assert cost["requests"] == cost["forward_passes"] == len(server.seen) - len(QUERIES)

    assert evaluate("yes_no", "three", f"{KEY}-wrong", at, "model.context=999") == 2
    out, err = capfd.readouterr()
    assert err.strip().splitlines()[-1].endswith("the endpoint refused the key in TOY_KEY (401)")
    assert KEY not in out + err + done.stdout + done.stderr
    files = [file for file in tiny.parent.rglob("*") if file.is_file()]
    assert {"config.yaml", "environment.json", "log.txt", "answers.sqlite", "answers.jsonl"} <= {f.name for f in files}
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
    described = json.loads((tiny.parent / "two" / "environment.json").read_text())["models"]
    assert [model["name"] for model in described] == ["toy"]
    assert "api_key_env: TOY_KEY" in (tiny.parent / "two" / "config.yaml").read_text()


def test_stored_answers_need_neither_server_nor_key(
    server: ToyServer, tiny: Path, evaluate: Callable[..., int]
) -> None:
    at = f"model.url={server.url}"
    assert evaluate("rerank_endpoint", "one", KEY, at) == 0
    before = len(server.seen)
    assert evaluate("rerank_endpoint", "two", "", at) == 0
    assert len(server.seen) == before
    assert (tiny.parent / "one" / "run.trec").read_bytes() == (tiny.parent / "two" / "run.trec").read_bytes()


def test_a_scorer_that_needs_weights_says_so_in_one_line(
    server: ToyServer, evaluate: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("bi_encoder", "one", KEY, f"model.url={server.url}") == 2
    assert "reranker.scorer.model: must be a node of Model, got a node of Endpoint" in capfd.readouterr().err
