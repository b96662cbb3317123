"""Yes or no: the log of a softmax over two labels."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure
from rerankbench.rerankers.scorers.yes_no import YesNo
from tests.models.toy_language_model import MONOT5, YES_NO, on_cpu
from tests.rerankers.scorers.asked import Said, pointwise


def _plain(scorer: YesNo, request: Any, words: list[str]) -> float:
    import torch

    lm: Any = scorer.language_model
    ids = list(scorer.encode_prompt(request).ids)
    with torch.inference_mode():
        if lm.network.config.is_encoder_decoder:
            logits = lm.network(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).logits
        else:
            logits = lm.network(torch.tensor([ids])).logits
    two = logits[0, -1, lm.prompt_encoder.tokenizer.convert_tokens_to_ids(words)].float()
    return float(torch.log_softmax(two, -1)[0])


@pytest.mark.parametrize(
    ("kind", "prompt", "words"),
    [("chat_model", YES_NO, ["Yes", "No"]), ("plain_model", YES_NO, ["ĠYes", "ĠNo"]),
     ("t5_model", MONOT5, ["▁true", "▁false"])],
)  # fmt: skip
def test_scores_are_those_of_plain_passes(
    kind: str, prompt: Prompt, words: list[str], request: pytest.FixtureRequest
) -> None:
    scorer = YesNo(model=on_cpu(request.getfixturevalue(kind)), prompt=prompt)
    requests = pointwise(20)
    scores = scorer.answer(requests)
    assert scores == pytest.approx([_plain(scorer, one, words) for one in requests], abs=1e-4)
    assert all(score <= 0 for score in scores)
    assert scorer.answer(requests[::-1])[::-1] == pytest.approx(scores, abs=1e-4)


def test_certain_answers_do_not_tie() -> None:
    margins = iter([50.0, 60.0, -800.0, -900.0])
    model: Any = Said(scores=lambda prompt, labels: [next(margins), 0.0])
    high, higher, low, lower = YesNo(model=model, prompt=YES_NO).answer(pointwise(4))
    assert lower < low < high < higher < 0


def test_a_label_that_is_not_told_is_a_failure() -> None:
    model: Any = Said(scores=lambda prompt, labels: [0.0, None])
    assert YesNo(model=model, prompt=YES_NO).answer(pointwise(1)) == [Failure("no label")]


@pytest.mark.parametrize("labels", [None, ["Yes"], ["Yes", "No", "Perhaps"]])
def test_two_labels_are_needed(labels: list[str] | None) -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match=r"prompt\.labels: must be two"):
        YesNo(model=model, prompt=Prompt(messages=[{"content": "{{ query }}"}], labels=labels))


def test_nothing_is_finite_but_probability() -> None:
    model: Any = Said(scores=lambda prompt, labels: [math.log(0.3), math.log(0.7)])
    assert YesNo(model=model, prompt=YES_NO).answer(pointwise(1)) == [pytest.approx(math.log(0.3))]
