"""The bi-encoder's scores are cosines of the two texts embedded apart; no text is embedded twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from rerankbench.errors import ConfigError
from rerankbench.models.encoders.embedder import Embedder
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.training.groups import requests_of
from tests.models.toy_model import on_cpu, requests, save
from tests.training.toy_groups import flat, groups, moved, outputs, scores


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


def test_scores_are_cosines_with_the_prefixes(saved: str) -> None:
    asked = requests(1, 20)
    scorer = BiEncoder(model=on_cpu(saved), query_prefix="the ", document_prefix="a ", pooling="cls")
    embedder = Embedder(on_cpu(saved), "cls")
    expected = [
        float(embedder.embed([f"the {r.query.text}"])[0] @ embedder.embed([f"a {r.candidate.document.text}"])[0])
        for r in asked
    ]
    assert scorer.answer(asked) == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_scores_do_not_depend_on_the_batch(saved: str) -> None:
    asked = requests(2, 25)
    together = BiEncoder(model=on_cpu(saved)).answer(asked)
    alone = BiEncoder(model=on_cpu(saved))
    assert [alone.answer([request])[0] for request in asked] == pytest.approx(together, abs=1e-5)
    assert BiEncoder(model=on_cpu(saved)).answer(asked[::-1])[::-1] == pytest.approx(together, abs=1e-5)


def test_no_text_is_embedded_twice(saved: str) -> None:
    asked = requests(3, 10)
    scorer = BiEncoder(model=on_cpu(saved))
    first = scorer.answer(asked)
    tokens = scorer.usage.prompt_tokens
    assert scorer.answer(asked) == first
    assert scorer.usage.prompt_tokens == tokens > 0


def test_the_fingerprint_is_of_weights_pooling_and_prefixes(saved: str, tmp_path: Path) -> None:
    model = on_cpu(saved)
    same = [BiEncoder(model=model), BiEncoder(model=on_cpu(saved))]
    others = [
        BiEncoder(model=model, pooling="cls"),
        BiEncoder(model=model, query_prefix="a"),
        BiEncoder(model=model, document_prefix="a"),
        BiEncoder(model=on_cpu(save(tmp_path, seed=1))),
    ]
    assert len({scorer.fingerprint() for scorer in same}) == 1
    assert len({scorer.fingerprint() for scorer in [*same, *others]}) == 5


def test_an_encoder_decoder_is_refused(t5_model: str) -> None:
    with pytest.raises(ConfigError, match=r"^path: .* is an encoder-decoder"):
        BiEncoder(model=on_cpu(t5_model)).answer(requests(1, 1))


def _for_training(path: str, pooling: Literal["auto", "mean", "cls", "last"] = "mean") -> BiEncoder:
    scorer = BiEncoder(model=on_cpu(path), pooling=pooling, query_prefix="a : ", document_prefix="the ")
    return scorer.for_training()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_trained_one_scores_as_in_training_and_other_libraries_agree(
    saved: str, pooling: Literal["mean", "cls", "last"], tmp_path: Path
) -> None:
    scorer, batch = _for_training(saved, pooling), groups(3, 5, 2)
    before = flat(scores(scorer, batch))
    assert scorer.answer(requests_of(batch)) == pytest.approx(before, abs=1e-5)
    assert len(moved(scorer, batch)) > 20
    after = flat(scores(scorer, batch))
    assert after != pytest.approx(before, abs=1e-3), "a step changes what it says"

    scorer.save(tmp_path)
    scorer = replace(scorer, model=on_cpu(str(tmp_path)), pooling="auto")
    assert scorer.embedder.pooling_mode == pooling
    assert scorer.answer(requests_of(batch)) == pytest.approx(after, abs=1e-5)

    from transformers import AutoModel

    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    queries = theirs.encode([group.query.text for group in batch], prompt_name="query")
    documents = theirs.encode([d.text for group in batch for d in group.documents], prompt_name="document")
    owners = [row for row, group in enumerate(batch) for _ in group.documents]
    assert (queries[owners] * documents).sum(1).tolist() == pytest.approx(after, abs=1e-5)


def test_the_batch_does_not_change_scores_in_training(saved: str) -> None:
    scorer, batch = _for_training(saved), groups(3, 5, 2)
    whole = flat(scores(scorer, batch))
    assert flat(scores(scorer, batch, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(scorer, batch[2:]), *scores(scorer, batch[:2])]
    assert flat(turned) == pytest.approx(whole[8:] + whole[:8], abs=1e-5)


def test_a_text_is_read_once_and_the_whole_batch_is_scored(saved: str) -> None:
    scorer, batch = _for_training(saved), groups(3, 5, 2)
    texts = {group.query.text for group in batch} | {document.text for group in batch for document in group.documents}
    assert len(scorer.inputs(requests_of(batch))) == len(texts) < 3 + 10
    queries, documents = scorer.embeddings(requests_of(batch), outputs(scorer, batch))
    similarity = scorer.similarity([queries[0], queries[3], queries[8]], documents)
    assert similarity.shape == (3, 10)
    rows = [similarity[0, :3], similarity[1, 3:8], similarity[2, 8:]]
    assert torch.cat(rows).tolist() == pytest.approx(flat(scores(scorer, batch)), abs=1e-5)
