"""Late interaction scores in training as its scorer does, whatever the batch, its linear layer included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rerankbench.training.trainees.cross_encoder import pointwise_requests
from rerankbench.training.trainees.late_interaction import LateInteractionTrainee

from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from tests.models.toy_model import on_cpu, save
from tests.training.trainees.toy_groups import flat, groups, moved, outputs, scores


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


def _trainee(path: str) -> LateInteractionTrainee:
    return LateInteractionTrainee(LateInteraction(model=on_cpu(path), query_prefix="a ", document_prefix="the "))


def test_scores_are_the_scorers_before_and_after_a_step(encoder: str, tmp_path: Path) -> None:
    trainee, own = _trainee(encoder), groups(3, 5, 2)
    before = flat(scores(trainee, own))
    fresh = replace(trainee.scorer, model=on_cpu(encoder))
    assert fresh.answer(pointwise_requests(own)) == pytest.approx(before, abs=1e-5)
    gradients = moved(trainee, own)
    assert len(gradients) > 20
    projected = "linear.weight" in dict(trainee.network.named_parameters())
    assert ("linear.weight" in gradients) is projected
    after = flat(scores(trainee, own))
    assert after != pytest.approx(before, abs=1e-3), "a step changes what it says"

    trainee.save(tmp_path)
    scorer = replace(trainee.scorer, model=on_cpu(str(tmp_path)))
    assert scorer.answer(pointwise_requests(own)) == pytest.approx(after, abs=1e-5)
    assert (scorer.embedder.projection is not None) is projected

    from transformers import AutoModel

    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]


def test_the_batch_plays_no_part(encoder: str) -> None:
    trainee, own = _trainee(encoder), groups(3, 5, 2)
    whole = flat(scores(trainee, own))
    assert flat(scores(trainee, own, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(trainee, own[2:]), *scores(trainee, own[:2])]
    assert flat(turned) == pytest.approx(whole[8:] + whole[:8], abs=1e-5)


def test_the_whole_batch_is_scored(encoder: str) -> None:
    trainee, own = _trainee(encoder), groups(3, 5, 2)
    queries, documents = trainee.embedded(own, outputs(trainee, own))
    similarity = trainee.similarity(queries, documents)
    assert similarity.shape == (3, 10)
    rows = [similarity[0, :3], similarity[1, 3:8], similarity[2, 8:]]
    assert torch.cat(rows).tolist() == pytest.approx(flat(scores(trainee, own)), abs=1e-5)
