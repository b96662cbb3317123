"""Learned sparse retrieval finds what scoring every document finds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.sparse import Sparse as SparseScorer
from rerankbench.retrievers.sparse import Sparse
from rerankbench.store import Store
from rerankbench.types import Candidate, Document, Query
from tests.configured import refused
from tests.models.toy_model import on_cpu, save, texts
from tests.retrievers.toy import toy

CORPUS = {f"d{i}": text for i, text in enumerate(texts(7, 30))}
QUERIES = {"q1": "cat mat", "q2": "garden of roses", "q3": ""}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("mlm"), "BertForMaskedLM")


def _scores(saved: str, weights: Literal["network", "tokens"], query: str) -> dict[str, float]:
    asked = [Pointwise(Query("q", query), Candidate(Document(d, text), 0, 0.0)) for d, text in CORPUS.items()]
    return dict(zip(CORPUS, SparseScorer(model=on_cpu(saved), query_weights=weights).answer(asked), strict=True))


@pytest.mark.parametrize("weights", ["network", "tokens"])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_the_best_k_of_all(
    saved: str, weights: Literal["network", "tokens"], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerankbench.retrievers.dense.CHUNK", chunk)
    run = Sparse(model=on_cpu(saved), k=8, query_weights=weights).retrieve(toy(CORPUS, QUERIES), Store(tmp_path))
    for query, text in QUERIES.items():
        expected = {d: score for d, score in _scores(saved, weights, text).items() if score > 0}
        best = sorted(expected.values(), reverse=True)[:8]
        assert [score for _, score in run[query]] == pytest.approx(best, abs=1e-4)
        assert all(score == pytest.approx(expected[d], abs=1e-4) for d, score in run[query])


def test_given_candidates_are_scored_and_kept(saved: str, tmp_path: Path) -> None:
    given = ["d3", "absent", "d1"]
    benchmark = toy(CORPUS, {"q1": "cat mat"}, {"q1": given})
    run = Sparse(model=on_cpu(saved)).retrieve(benchmark, Store(tmp_path))
    scores = {**_scores(saved, "network", "cat mat"), "absent": 0.0}
    assert {d for d, _ in run["q1"]} == set(given)
    assert dict(run["q1"]) == pytest.approx({d: scores[d] for d in given}, abs=1e-4)


def test_the_index_is_built_once(saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, store = toy(CORPUS, QUERIES), Store(tmp_path)
    first = Sparse(model=on_cpu(saved)).retrieve(benchmark, store)
    monkeypatch.setattr(Sparse, "_build", lambda *_: pytest.fail("built again"))
    assert Sparse(model=on_cpu(saved)).retrieve(benchmark, store) == first
    other = Sparse(model=on_cpu(saved), query_weights="tokens", k=3)
    assert len(other.retrieve(benchmark, store)["q1"]) == 3


def test_options_are_checked_and_hashed(saved: str) -> None:
    assert refused(Sparse, model={"_target_": Model, "path": saved}, k=0) == "k"
    model = on_cpu(saved)
    assert len({Sparse(model=model, **o).fingerprint() for o in ({}, {"k": 3}, {"query_weights": "tokens"})}) == 3
