"""Late interaction is MaxSim, as two loops would compute it."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rerankbench.models.encoders.embedder import Embedder
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.training.groups import requests_of
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_model import WORDS, on_cpu, requests, save
from tests.training.toy_groups import flat, groups, moved, outputs, scores


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


def _naive(embedder: Embedder, query: str, document: str, skip: bool) -> float:
    (queries, _), (documents, ids) = embedder.embed_tokens([query]) + embedder.embed_tokens([document])
    total = 0.0
    for q in queries:
        best = -2.0
        for d, token in zip(documents, ids, strict=True):
            if not (skip and WORDS[token] in string.punctuation):
                best = max(best, float(q @ d))
        total += best
    return total


@pytest.mark.parametrize("skip", [True, False])
def test_scores_equal_the_double_loop(saved: str, skip: bool) -> None:
    asked = requests(1, 24)
    assert any("!" in request.candidate.document.text for request in asked)
    scorer = LateInteraction(model=on_cpu(saved), skip_punctuation=skip, query_prefix="the ", document_prefix="a ")
    embedder = Embedder(on_cpu(saved))
    expected = [_naive(embedder, f"the {r.query.text}", f"a {r.candidate.document.text}", skip) for r in asked]
    assert scorer.answer(asked) == pytest.approx(expected, abs=1e-4)


def test_scores_do_not_depend_on_the_batch(saved: str) -> None:
    asked = requests(2, 25)
    together = LateInteraction(model=on_cpu(saved)).answer(asked)
    alone = LateInteraction(model=on_cpu(saved))
    assert [alone.answer([request])[0] for request in asked] == pytest.approx(together, abs=1e-4)
    assert LateInteraction(model=on_cpu(saved)).answer(asked[::-1])[::-1] == pytest.approx(together, abs=1e-4)


@pytest.mark.parametrize("special", [True, False])
def test_documents_of_nothing_and_of_punctuation_have_scores(special: bool, tmp_path: Path) -> None:
    scorer = LateInteraction(model=on_cpu(save(tmp_path, special=special)))
    texts = ["", "! , .", "cat dog"]
    asked = [Pointwise(Query("q", "cat"), Candidate(Document(str(i), text), i, 0.0)) for i, text in enumerate(texts)]
    size = scorer.embedder.encoder.tokenizer.single.size + 1
    assert all(-size <= score <= size + 1e-5 for score in scorer.answer(asked))


def test_no_text_is_embedded_twice(saved: str) -> None:
    asked = requests(3, 10)
    scorer = LateInteraction(model=on_cpu(saved))
    first = scorer.answer(asked)
    tokens = scorer.usage.prompt_tokens
    assert scorer.answer(asked) == first
    assert scorer.usage.prompt_tokens == tokens > 0


@pytest.fixture(scope="module", params=["plain", "projected"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder, and one with ColBERT's linear layer beside its weights."""
    from safetensors.torch import load_file, save_file

    path = save(tmp_path_factory.mktemp("encoder"))
    if request.param == "projected":
        file = f"{path}/model.safetensors"
        linear = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
        save_file({**load_file(file), "linear.weight": linear}, file, metadata={"format": "pt"})
    return path


def _for_training(path: str) -> LateInteraction:
    return LateInteraction(model=on_cpu(path), query_prefix="a ", document_prefix="the ").for_training()


def test_scores_are_those_of_training_before_and_after_a_step(encoder: str, tmp_path: Path) -> None:
    scorer, batch = _for_training(encoder), groups(3, 5, 2)
    before = flat(scores(scorer, batch))
    fresh = replace(scorer, model=on_cpu(encoder))
    assert fresh.answer(requests_of(batch)) == pytest.approx(before, abs=1e-5)
    gradients = moved(scorer, batch)
    assert len(gradients) > 20
    projected = "linear.weight" in dict(scorer.module.named_parameters())
    assert ("linear.weight" in gradients) is projected
    after = flat(scores(scorer, batch))
    assert after != pytest.approx(before, abs=1e-3), "a step changes what it says"

    scorer.save(tmp_path)
    scorer = replace(scorer, model=on_cpu(str(tmp_path)))
    assert scorer.answer(requests_of(batch)) == pytest.approx(after, abs=1e-5)
    assert (scorer.embedder.projection is not None) is projected

    from transformers import AutoModel

    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]


def test_the_batch_does_not_change_scores_in_training(encoder: str) -> None:
    scorer, batch = _for_training(encoder), groups(3, 5, 2)
    whole = flat(scores(scorer, batch))
    assert flat(scores(scorer, batch, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(scorer, batch[2:]), *scores(scorer, batch[:2])]
    assert flat(turned) == pytest.approx(whole[8:] + whole[:8], abs=1e-5)


def test_the_whole_batch_is_scored(encoder: str) -> None:
    scorer, batch = _for_training(encoder), groups(3, 5, 2)
    queries, documents = scorer.embeddings(requests_of(batch), outputs(scorer, batch))
    similarity = scorer.similarity([queries[0], queries[3], queries[8]], documents)
    assert similarity.shape == (3, 10)
    rows = [similarity[0, :3], similarity[1, 3:8], similarity[2, 8:]]
    assert torch.cat(rows).tolist() == pytest.approx(flat(scores(scorer, batch)), abs=1e-5)
