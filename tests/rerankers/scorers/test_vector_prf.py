"""The identities of vector feedback: averages, Rocchio, and what they make of inner products."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.models.encoders.vector_prf import VectorPRF
from rerankbench.rerankers.requests import Groupwise, Pointwise
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.vector_prf import FeedbackBiEncoder
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_model import on_cpu, save, texts

CANDIDATES = tuple(Candidate(Document(f"d{i}", text), i, 0.0) for i, text in enumerate(texts(3, 9)))
QUERY = Query("q", "cat mat")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def plain(saved: str) -> list[float]:
    return BiEncoder(model=on_cpu(saved)).answer([Pointwise(QUERY, candidate) for candidate in CANDIDATES])


def _scores(saved: str, candidates: tuple[Candidate, ...] = CANDIDATES, **options: Any) -> list[float]:
    scorer = FeedbackBiEncoder(model=on_cpu(saved), prf=VectorPRF(**options))
    (scores,) = scorer.answer([Groupwise(QUERY, candidates)])
    return scores


@pytest.mark.parametrize("method", ["average", "rocchio"])
def test_no_feedback_gives_the_plain_scores(saved: str, plain: list[float], method: str) -> None:
    assert _scores(saved, method=method, depth=0) == pytest.approx(plain, abs=1e-5)


def test_beta_of_0_only_scales(saved: str, plain: list[float]) -> None:
    assert _scores(saved, alpha=0.4, beta=0.0) == pytest.approx([0.4 * score for score in plain], abs=1e-5)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_average_is_a_rocchio(saved: str, k: int) -> None:
    expected = _scores(saved, depth=k, alpha=1 / (k + 1), beta=k / (k + 1))
    assert _scores(saved, method="average", depth=k) == pytest.approx(expected, abs=1e-5)


def test_a_score_is_linear_in_the_query_and_the_feedback(saved: str, plain: list[float]) -> None:
    vectors = BiEncoder(model=on_cpu(saved)).vectors([c.document.text for c in CANDIDATES])
    mean = (vectors @ vectors[:3].T).mean(1).tolist()
    expected = [0.7 * s + 0.2 * m for s, m in zip(plain, mean, strict=True)]
    assert _scores(saved, depth=3, alpha=0.7, beta=0.2) == pytest.approx(expected, abs=1e-5)


def test_scaling_both_weights_keeps_the_order(saved: str) -> None:
    scores = _scores(saved, alpha=0.4, beta=0.6)
    assert _scores(saved, alpha=1.2, beta=1.8) == pytest.approx([3 * score for score in scores], abs=1e-5)


def test_fewer_candidates_than_depth_are_all_the_feedback(saved: str) -> None:
    assert _scores(saved, CANDIDATES[:2], depth=5) == pytest.approx(_scores(saved, CANDIDATES[:2], depth=2), abs=1e-6)


def test_requests_are_answered_each_by_itself(saved: str) -> None:
    scorer = FeedbackBiEncoder(model=on_cpu(saved), prf=VectorPRF())
    asked = [Groupwise(QUERY, CANDIDATES), Groupwise(Query("r", "roses"), CANDIDATES[2:5])]
    together = scorer.answer(asked)
    for request, scores in zip(asked, together, strict=True):
        assert scorer.answer([request])[0] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("options", [{"depth": -1}, {"alpha": -0.1}, {"alpha": 0.0, "beta": 0.0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^prf\.(depth|alpha): must be"):
        build(check({"_target_": VectorPRF, **options}, "prf"), "prf")


def test_the_fingerprint_is_of_the_feedback_too(saved: str) -> None:
    prints = {FeedbackBiEncoder(model=on_cpu(saved), prf=VectorPRF(depth=k)).fingerprint() for k in (1, 2)}
    assert len(prints) == 2


def test_dense_retrieval_searches_twice(saved: str, tmp_path: Any) -> None:
    from rerankbench.retrievers.dense import Dense
    from rerankbench.store import Store
    from tests.retrievers.toy import toy

    corpus = {c.document.id: c.document.text for c in CANDIDATES}
    bare = Dense(model=on_cpu(saved), k=9)
    moved = Dense(model=on_cpu(saved), k=9, prf=VectorPRF(depth=2))
    assert bare.fingerprint() != moved.fingerprint()
    for candidates in (None, {"q": list(corpus)}):
        benchmark, store = toy(corpus, {"q": QUERY.text}, candidates), Store(tmp_path)
        first = bare.retrieve(benchmark, store)["q"]
        again = moved.retrieve(benchmark, store)["q"]
        order = tuple(CANDIDATES[int(document[1:])] for document, _ in first)
        expected = dict(zip((c.document.id for c in order), _scores(saved, order, depth=2), strict=True))
        assert dict(again) == pytest.approx(expected, abs=1e-5)
        assert [s for _, s in again] == sorted((s for _, s in again), reverse=True)
