"""A bi-encoder scores in training as its scorer does, whatever the batch, and other libraries read what is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from rerankbench.training.trainees.bi_encoder import BiEncoderTrainee
from rerankbench.training.trainees.cross_encoder import pointwise_requests

from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from tests.models.toy_model import on_cpu, save
from tests.training.trainees.toy_groups import flat, groups, moved, outputs, scores


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("encoder"))


def _trainee(path: str, pooling: Literal["auto", "mean", "cls", "last"] = "mean") -> BiEncoderTrainee:
    scorer = BiEncoder(model=on_cpu(path), pooling=pooling, query_prefix="a : ", document_prefix="the ")
    return BiEncoderTrainee(scorer)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_scores_are_the_scorers_and_other_libraries_agree(
    encoder: str, pooling: Literal["mean", "cls", "last"], tmp_path: Path
) -> None:
    trainee, own = _trainee(encoder, pooling), groups(3, 5, 2)
    before = flat(scores(trainee, own))
    assert trainee.scorer.answer(pointwise_requests(own)) == pytest.approx(before, abs=1e-5)
    assert len(moved(trainee, own)) > 20
    after = flat(scores(trainee, own))
    assert after != pytest.approx(before, abs=1e-3), "a step changes what it says"

    trainee.save(tmp_path)
    scorer = replace(trainee.scorer, model=on_cpu(str(tmp_path)), pooling="auto")
    assert scorer.embedder.pooling_mode == pooling
    assert scorer.answer(pointwise_requests(own)) == pytest.approx(after, abs=1e-5)

    from transformers import AutoModel

    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    queries = theirs.encode([group.query.text for group in own], prompt_name="query")
    documents = theirs.encode([d.text for group in own for d in group.documents], prompt_name="document")
    owners = [row for row, group in enumerate(own) for _ in group.documents]
    assert (queries[owners] * documents).sum(1).tolist() == pytest.approx(after, abs=1e-5)


def test_the_batch_plays_no_part(encoder: str) -> None:
    trainee, own = _trainee(encoder), groups(3, 5, 2)
    whole = flat(scores(trainee, own))
    assert flat(scores(trainee, own, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(trainee, own[2:]), *scores(trainee, own[:2])]
    assert flat(turned) == pytest.approx(whole[8:] + whole[:8], abs=1e-5)


def test_a_text_is_read_once_and_the_whole_batch_is_scored(encoder: str) -> None:
    trainee, own = _trainee(encoder), groups(3, 5, 2)
    documents = [document.text for group in own for document in group.documents]
    assert len(trainee.inputs(own)) == len({group.query.text for group in own}) + len(set(documents)) < 3 + 10
    found = outputs(trainee, own)
    similarity = trainee.similarity(*trainee.embedded(own, found))
    assert similarity.shape == (3, 10)
    rows = [similarity[0, :3], similarity[1, 3:8], similarity[2, 8:]]
    assert torch.cat(rows).tolist() == pytest.approx(flat(scores(trainee, own)), abs=1e-5)
