"""A yes-no judge scores in training as its scorer does: the log-odds whose log-sigmoid is the log-probability."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rerankbench.training.trainees.cross_encoder import pointwise_requests
from rerankbench.training.trainees.yes_no import YesNoTrainee

from rerankbench.errors import ConfigError
from rerankbench.rerankers.scorers.yes_no import YesNo
from tests.models.toy_language_model import YES_NO, on_cpu, save_llama, save_t5
from tests.training.trainees.toy_groups import flat, groups, moved, scores


@pytest.fixture(scope="module", params=["apart", "tied"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder whose output layer is its own, or the embeddings."""
    return save_llama(tmp_path_factory.mktemp("llama"), tie_word_embeddings=request.param == "tied")


def _trainee(path: str) -> YesNoTrainee:
    return YesNoTrainee(YesNo(model=on_cpu(path), prompt=YES_NO))


def _log_sigmoid(values: list[float]) -> list[float]:
    found: list[float] = torch.nn.functional.logsigmoid(torch.tensor(values)).tolist()
    return found


def test_scores_are_the_scorers_before_and_after_a_step(decoder: str, tmp_path: Path) -> None:
    trainee, own = _trainee(decoder), groups(3, 4)
    before = flat(scores(trainee, own))
    fresh = YesNo(model=on_cpu(decoder), prompt=YES_NO)
    assert fresh.answer(pointwise_requests(own)) == pytest.approx(_log_sigmoid(before), abs=1e-5)
    gradients = moved(trainee, own, rate=1e-3)
    assert any("embed_tokens" in name for name in gradients)
    after = flat(scores(trainee, own))
    assert after != pytest.approx(before, abs=1e-4), "a step changes what it says"

    trainee.save(tmp_path)
    scorer = replace(trainee.scorer, model=on_cpu(str(tmp_path)))
    assert scorer.answer(pointwise_requests(own)) == pytest.approx(_log_sigmoid(after), abs=1e-5)

    from transformers import AutoModelForCausalLM

    _, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_the_batch_plays_no_part(decoder: str) -> None:
    trainee, own = _trainee(decoder), groups(3, 4)
    whole = flat(scores(trainee, own))
    assert flat(scores(trainee, own, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(trainee, own[1:]), *scores(trainee, own[:1])]
    assert flat(turned) == pytest.approx(whole[3:] + whole[:3], abs=1e-5)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="decoder"):
        YesNoTrainee(YesNo(model=on_cpu(save_t5(tmp_path)), prompt=YES_NO))
