"""A cross-encoder scores in training as its scorer does, whatever the batch, and other libraries read what is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rerankbench.training.trainees.cross_encoder import CrossEncoderTrainee, pointwise_requests

from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from tests.models.toy_language_model import save_llama
from tests.models.toy_model import on_cpu, save
from tests.training.trainees.toy_groups import flat, groups, moved, scores

KINDS = ["one output", "two outputs", "no head", "decoder", "decoder without padding"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    head = "BertForSequenceClassification"
    return {
        "one output": save(folder / "one", head),
        "two outputs": save(folder / "two", head, outputs=2),
        "no head": save(folder / "none"),
        "decoder": save_llama(folder / "llama"),
        "decoder without padding": _without_padding(save_llama(folder / "bare")),
    }


def _without_padding(path: str) -> str:
    """The same checkpoint, which names no padding."""
    for name, key in (("config.json", "pad_token_id"), ("tokenizer_config.json", "pad_token")):
        file = Path(path) / name
        kept = {own: value for own, value in json.loads(file.read_text()).items() if own != key}
        file.write_text(json.dumps(kept))
    return path


def _trainee(path: str, seed: int = 0) -> CrossEncoderTrainee:
    torch.manual_seed(seed)
    return CrossEncoderTrainee(CrossEncoder(model=on_cpu(path)))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_scorers_and_other_libraries_agree(
    checkpoints: dict[str, str], kind: str, tmp_path: Path
) -> None:
    trainee, own = _trainee(checkpoints[kind]), groups(3, 5, 2)
    before = flat(scores(trainee, own))
    if "output" in kind:
        untrained = CrossEncoder(model=on_cpu(checkpoints[kind]))
        assert untrained.answer(pointwise_requests(own)) == pytest.approx(before, abs=1e-5)
    gradients = moved(trainee, own, rate=1e-3)
    assert any("embed" in name for name in gradients)
    assert any(name.split(".")[0] in ("classifier", "score") for name in gradients)
    after = flat(scores(trainee, own))
    assert after != pytest.approx(before, abs=1e-5), "a step changes what it says"

    trainee.save(tmp_path)
    scorer = replace(trainee.scorer, model=on_cpu(str(tmp_path)))
    assert scorer.answer(pointwise_requests(own)) == pytest.approx(after, abs=1e-5)

    from transformers import AutoModelForSequenceClassification

    _, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs: Any = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu")
    pairs = [(group.query.text, document.text) for group in own for document in group.documents]
    logits = theirs.predict(pairs)
    if logits.ndim == 2:
        logits = logits[:, 1] - logits[:, 0]
    assert logits.tolist() == pytest.approx(after, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_plays_no_part(checkpoints: dict[str, str], kind: str) -> None:
    trainee, own = _trainee(checkpoints[kind]), groups(3, 5, 2)
    whole = flat(scores(trainee, own))
    assert flat(scores(trainee, own, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(trainee, own[2:]), *scores(trainee, own[:2])]
    assert flat(turned) == pytest.approx(whole[8:] + whole[:8], abs=1e-5)


def test_a_new_head_comes_from_the_seed(checkpoints: dict[str, str]) -> None:
    own = groups(4)
    found = [scores(_trainee(checkpoints["no head"], seed), own) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_padding_is_no_candidate(checkpoints: dict[str, str]) -> None:
    trainee, own = _trainee(checkpoints["one output"]), groups(3, 1)
    rows = trainee.scores(own, trainee.forward(trainee.inputs(own)), 6)
    assert rows.shape == (2, 6)
    assert rows.dtype == torch.float32
    assert not rows[0, 3:].any()
    assert not rows[1, 1:].any()
