"""Rank-R1: the answer behind the reasoning, and nothing that the reasoning names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure
from rerankbench.rerankers.scorers.reasoning_choice import ReasoningChoice
from tests.models.toy_language_model import LIST
from tests.rerankers.scorers.asked import Said, hostile, setwise

NUMBERED = Prompt(messages=LIST.messages)


def _chosen(text: str, prompt: Prompt = NUMBERED) -> Any:
    model: Any = Said(texts=[text])
    return ReasoningChoice(model=model, prompt=prompt).answer(setwise(5))[0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("<think>[1] or [2]?</think> <answer>[3]</answer>", 2), ("<think>[1]</think><answer>3</answer>", 2),
     ("<think>[1]</think>\n[2]", 1), ("<think>[1] it is", Failure("unclosed reasoning")),
     ("<think></think><answer>[9]</answer>", Failure("unknown label")),
     ("<think></think><answer>[3], [5]</answer>", 2)],
)  # fmt: skip
def test_the_answer_counts(text: str, answer: Any) -> None:
    assert _chosen(text) == answer


def test_reasoning_that_the_prompt_begins_is_reasoning() -> None:
    thinking = Prompt(messages=LIST.messages, start="<think>")
    assert _chosen("[1]</think><answer>[2]", thinking) == 1
    assert _chosen("[1] is good", thinking) == Failure("unclosed reasoning")


@given(text=hostile)
def test_whatever_is_generated_is_a_document_shown_or_a_failure(text: str) -> None:
    found = _chosen(text)
    assert isinstance(found, Failure) or found in range(5)


def test_generation_ends_with_the_answer() -> None:
    model: Any = Said(texts=["[1]"])
    ReasoningChoice(model=model, prompt=NUMBERED, new_tokens=99).answer(setwise(3, 5))
    assert model.asked == [{"max_new_tokens": 99, "stop": ("</answer>",), "n": 2}]
