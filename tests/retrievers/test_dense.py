"""Dense retrieval is exact: the same as every document compared with every query."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.encoders.embedder import Embedder
from rerankbench.models.model import Model
from rerankbench.retrievers.dense import Dense
from rerankbench.store import Store
from tests.configured import refused
from tests.models.toy_model import on_cpu, save, texts
from tests.retrievers.toy import toy

TEXTS = {f"d{i}": text for i, text in enumerate(texts(7, 30))} | {"twin": "red roses", "copy": "red roses"}
QUERIES = {"q1": "cat mat", "q2": "roses"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


def test_the_best_k_of_all_cosines(saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankbench.retrievers.dense.CHUNK", 7)
    retriever = Dense(model=on_cpu(saved), k=9, query_prefix="the ", document_prefix="a ")
    run = retriever.retrieve(toy(TEXTS, QUERIES), Store(tmp_path))
    embedder = Embedder(on_cpu(saved))
    documents = embedder.embed([f"a {text}" for text in TEXTS.values()])
    for query, text in QUERIES.items():
        cosines = dict(zip(TEXTS, (documents @ embedder.embed([f"the {text}"])[0]).tolist(), strict=True))
        assert len(run[query]) == 9
        assert dict(run[query]) == pytest.approx({d: cosines[d] for d, _ in run[query]}, abs=1e-5)
        left_out = max(score for d, score in cosines.items() if d not in dict(run[query]))
        assert run[query][-1][1] >= left_out - 1e-6
        assert [score for _, score in run[query]] == sorted((score for _, score in run[query]), reverse=True)


def test_equal_texts_tie_by_document_id_descending(saved: str, tmp_path: Path) -> None:
    run = Dense(model=on_cpu(saved)).retrieve(toy(TEXTS, {"q": "red roses"}), Store(tmp_path))
    assert [document for document, _ in run["q"][:2]] == ["twin", "copy"]


def test_candidate_lists_keep_all_their_documents(saved: str, tmp_path: Path) -> None:
    lists = {"q1": ["absent", "copy", "d3"], "q2": []}
    run = Dense(model=on_cpu(saved), k=1).retrieve(toy(TEXTS, QUERIES, lists), Store(tmp_path))
    assert sorted(d for d, _ in run["q1"]) == sorted(lists["q1"])
    assert run["q1"][-1] == ("absent", -1.0)
    assert run["q2"] == []


def test_embeddings_are_made_once_for_a_model_and_its_options(
    saved: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rerankbench")
    benchmark = toy(TEXTS, QUERIES)
    first = Dense(model=on_cpu(saved)).retrieve(benchmark, Store(tmp_path))
    assert "dense index built" in caplog.text
    caplog.clear()
    assert Dense(model=on_cpu(saved), k=99).retrieve(benchmark, Store(tmp_path)) == first
    assert "dense index reused" in caplog.text
    Dense(model=on_cpu(saved), document_prefix="a ").retrieve(benchmark, Store(tmp_path))
    assert len(list((tmp_path / "indexes").iterdir())) == 2


def test_an_empty_corpus_and_k_0_are_refused(saved: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the corpus is empty"):
        Dense(model=on_cpu(saved)).retrieve(toy({}, QUERIES), Store(tmp_path))
    assert refused(Dense, model={"_target_": Model, "path": saved}, k=0) == "k"
