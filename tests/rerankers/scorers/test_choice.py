"""Choices: the likeliest label, or the one that is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure, Setwise
from rerankbench.rerankers.scorers.choice import Choice
from tests.models.toy_language_model import LIST, on_cpu
from tests.rerankers.scorers.asked import QUERIES, Said, candidates, hostile, setwise

SET = Prompt(messages=LIST.messages, start="Passage", label_style="letters")


def longest(prompt: Any, labels: Any) -> list[float | None]:
    """A label's score is the length of its document."""
    return [float(len(text)) for text in prompt.messages[0][1].split("|")[1:]]


def test_the_likeliest_label_of_a_plain_pass_is_chosen(chat_model: str) -> None:
    import torch

    scorer = Choice(model=on_cpu(chat_model), prompt=SET)
    lm: Any = scorer.language_model
    requests, expected = setwise(2, 5, 3, 5, 8, 2, 20), []
    for one in requests:
        words = [f"Ġ{label}" for label in SET.document_labels(len(one.candidates))]
        with torch.inference_mode():
            row = lm.network(torch.tensor([scorer.encode_prompt(one).ids])).logits[0, -1]
        expected.append(int(row[lm.prompt_encoder.tokenizer.convert_tokens_to_ids(words)].argmax()))
    assert scorer.answer(requests) == expected


def test_shuffled_documents_are_chosen_just_the_same() -> None:
    model: Any = Said(scores=longest)
    shown = candidates(8)
    for order in (shown, shown[::-1], shown[3:] + shown[:3]):
        (index,) = Choice(model=model, prompt=SET).answer([Setwise(QUERIES[0], order)])
        assert order[index].document.text == max((c.document.text for c in shown), key=len)


def test_ties_and_labels_not_told() -> None:
    scores: list[list[float | None]] = [[-1.0, -1.0, -1.0], [None, -3.0, -2.0], [None, None, None]]
    given = iter(scores)
    model: Any = Said(scores=lambda prompt, labels: next(given))
    assert Choice(model=model, prompt=SET).answer(setwise(3, 3, 3)) == [0, 2, Failure("no label")]


@pytest.mark.parametrize(("text", "index"), [(" B", 1), ("B: because it says so", 1), (" C.", 2), ("A\n", 0)])
def test_generated_labels(text: str, index: int) -> None:
    model: Any = Said(texts=[text])
    assert Choice(model=model, prompt=SET, mode="generate").answer(setwise(3)) == [index]


@given(text=hostile)
def test_whatever_is_generated_is_a_document_shown_or_a_failure(text: str) -> None:
    model: Any = Said(texts=[text])
    (found,) = Choice(model=model, prompt=SET, mode="generate").answer(setwise(4))
    assert isinstance(found, Failure) or found in range(4)


def test_more_than_26_documents_have_no_letters() -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match="26"):
        Choice(model=model, prompt=SET).answer(setwise(27))
