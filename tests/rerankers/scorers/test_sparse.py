"""Learned sparse scores are those of the plain masked language model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.encoders.sparse import SparseEncoder
from rerankbench.rerankers.scorers.sparse import Sparse
from tests.models.toy_model import WORDS, on_cpu, requests, save, texts


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("mlm"), "BertForMaskedLM")


def plain(path: str, text: str) -> list[float]:
    """log(1 + relu) of the logits of one text alone, then the maximum over its tokens, [V]."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(path), AutoModelForMaskedLM.from_pretrained(path).eval()
    with torch.inference_mode():
        logits = network(**tokenizer(text, return_tensors="pt", truncation=True)).logits[0]
    return torch.log1p(logits.relu()).amax(0).tolist()


@pytest.mark.parametrize("budget", [40, 2048])
def test_vectors_equal_the_plain_computation(saved: str, budget: int) -> None:
    given = [*texts(1, 6, 40), ""]
    for vector, text in zip(SparseEncoder(on_cpu(saved, batch_tokens=budget)).encode(given), given, strict=True):
        assert vector.to_dense().tolist() == pytest.approx(plain(saved, text), abs=1e-5)
        assert 0 < vector.values().numel() < len(WORDS) and (vector.values() > 0).all()


def test_scores_are_inner_products(saved: str) -> None:
    asked = requests(5, 9)
    for request, score in zip(asked, Sparse(model=on_cpu(saved)).answer(asked), strict=True):
        left, right = plain(saved, request.query.text), plain(saved, request.candidate.document.text)
        assert score == pytest.approx(sum(a * b for a, b in zip(left, right, strict=True)), abs=1e-4)


def test_queries_without_a_network_weigh_1_or_their_idf(saved: str, tmp_path: Path) -> None:
    encoder = SparseEncoder(on_cpu(saved))
    (vector,) = encoder.encode_tokens(["cat mat cat"])
    assert vector.to_dense().tolist() == [float(word in ("cat", "mat")) for word in WORDS]
    folder = Path(shutil.copytree(saved, tmp_path / "idf"))
    (folder / "idf.json").write_text(json.dumps({"cat": 2.5, "dog": 1.5}))
    (vector,) = SparseEncoder(on_cpu(str(folder))).encode_tokens(["cat mat cat"])
    assert vector.to_dense()[[WORDS.index("cat"), WORDS.index("mat"), WORDS.index("dog")]].tolist() == [2.5, 1.0, 0.0]
    assert encoder.usage.forward_passes == 0


def test_scores_of_token_queries_are_document_weights(saved: str) -> None:
    asked = requests(5, 9)
    scorer = Sparse(model=on_cpu(saved), query_weights="tokens")
    for request, score in zip(asked, scorer.answer(asked), strict=True):
        weights = plain(saved, request.candidate.document.text)
        tokens = {WORDS.index(word) for word in request.query.text.split()}
        assert score == pytest.approx(sum(weights[i] for i in tokens), abs=1e-4)


def test_a_document_is_read_once(saved: str) -> None:
    scorer = Sparse(model=on_cpu(saved), query_weights="tokens")
    scores = scorer.answer(requests(5, 9))
    passes = scorer.usage.forward_passes
    assert scorer.answer(requests(5, 9)) == scores
    assert scorer.usage.forward_passes == passes


def test_a_checkpoint_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    scorer = Sparse(model=on_cpu(save(tmp_path / "bare")))
    with pytest.raises(ConfigError, match=r"^path: .*no trained masked language model head"):
        scorer.answer(requests(5, 2))


def test_the_fingerprint_is_of_the_query_weights_too(saved: str) -> None:
    assert (
        Sparse(model=on_cpu(saved)).fingerprint() != Sparse(model=on_cpu(saved), query_weights="tokens").fingerprint()
    )


@pytest.mark.slow
def test_minilm_has_no_such_head() -> None:
    from rerankbench.config.build import build
    from rerankbench.config.compose import compose

    parts = compose("eval", ["reranker=sparse", "model=minilm", "model.device=cpu"]).parts
    scorer = build(parts["reranker"], "reranker").scorer
    with pytest.raises(ConfigError, match="no trained masked language model head"):
        scorer.answer(requests(5, 2))
