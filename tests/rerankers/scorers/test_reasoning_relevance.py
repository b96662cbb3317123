"""Rank1: labels scored behind the reasoning, which is closed where it does not end."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure, Repaired
from rerankbench.rerankers.scorers.reasoning_relevance import CLOSE, ReasoningRelevance, reasoning
from tests.models.toy_language_model import on_cpu
from tests.rerankers.scorers.asked import Said, hostile, pointwise

RANK1 = Prompt(
    messages=[{"content": "Query: {{ query }}\nPassage: {{ document }}"}],
    raw=True,
    start="\n<think>",
    labels=["true", "false"],
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("<think>It is.</think> true", 1.0), ("<think>true?</think>\nfalse", 0.0),
     ("<think>It", Failure("unclosed reasoning")), ("<think>It is.</think>", Failure("empty"))],
)  # fmt: skip
def test_a_text_that_names_a_label_is_read(text: str, answer: Any) -> None:
    model: Any = Said()
    assert ReasoningRelevance(model=model, prompt=RANK1).read(pointwise(1)[0], text) == answer


@pytest.mark.parametrize(
    ("text", "kept"),
    [("It is. So</think> true", "It is. So"), ("It is. So I think 3.5 of", "It is."), ("no end", "no end"),
     ("Really? Yes!\n", "Really? Yes!"), ("", ""), ("</think> false", ""), ("a</think>b</think>", "a")],
)  # fmt: skip
def test_reasoning_is_cut_behind_a_sentence(text: str, kept: str) -> None:
    assert reasoning(text) == kept


def test_the_labels_are_scored_behind_the_closed_reasoning() -> None:
    seen: list[str] = []

    def scores(prompt: Any, labels: Any) -> list[float | None]:
        seen.append(prompt.start)
        return [math.log(0.8), math.log(0.2)]

    model: Any = Said(texts=["It is.</think> true", "It is. Bec", "</think>"], scores=scores)
    found = ReasoningRelevance(model=model, prompt=RANK1, new_tokens=50).answer(pointwise(3))
    assert found[0] == found[2] == pytest.approx(math.log(0.8))
    assert isinstance(found[1], Repaired) and found[1].kind == "unfinished reasoning"
    assert seen[1:] == [f"\n<think>It is.\n{CLOSE}", f"\n<think>It is.\n{CLOSE}", f"\n<think>\n{CLOSE}"]
    assert [one for one in model.asked if "stop" in one] == [{"max_new_tokens": 50, "stop": (CLOSE,), "n": 3}]


def test_a_label_that_is_not_told_is_a_failure() -> None:
    model: Any = Said(texts=["unfinished"], scores=lambda prompt, labels: [None, 0.0])
    assert ReasoningRelevance(model=model, prompt=RANK1).answer(pointwise(1)) == [Failure("no label")]


@given(text=hostile)
def test_whatever_is_generated_has_a_score(text: str) -> None:
    model: Any = Said(texts=[text])
    (found,) = ReasoningRelevance(model=model, prompt=RANK1).answer(pointwise(1))
    score = found.value if isinstance(found, Repaired) else found
    assert score == pytest.approx(math.log(0.5))
    assert isinstance(found, Repaired) == (CLOSE not in text)


def test_a_model_scores_what_it_reasoned(chat_model: str) -> None:
    import torch

    scorer = ReasoningRelevance(model=on_cpu(chat_model), prompt=RANK1, new_tokens=6)
    lm: Any = scorer.language_model
    requests = pointwise(5)
    prompts = [scorer.encode_prompt(request) for request in requests]
    expected = []
    for prompt, text in zip(prompts, lm.generate(prompts, 6), strict=True):
        ids = lm.extended(prompt, reasoning(text), f"\n{CLOSE}").ids
        with torch.inference_mode():
            row = lm.network(torch.tensor([ids])).logits[0, -1]
        two = row[lm.prompt_encoder.tokenizer.convert_tokens_to_ids(["Ġtrue", "Ġfalse"])]
        expected.append(float(torch.log_softmax(two, -1)[0]))
    found = scorer.answer(requests)
    assert [getattr(one, "value", one) for one in found] == pytest.approx(expected, abs=1e-4)


def test_labels_are_checked_before_anything_is_generated(chat_model: str) -> None:
    prompt = Prompt(messages=RANK1.messages, raw=True, start=RANK1.start, labels=["certainly", "false"])
    scorer = ReasoningRelevance(model=on_cpu(chat_model), prompt=prompt, new_tokens=6)
    with pytest.raises(ConfigError, match=r"^labels: 'certainly'"):
        scorer.answer(pointwise(1))
    assert scorer.usage.generated_tokens == 0
