"""Written orders: any text gives a permutation or a failure, and room for as many names as are wanted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure, Repaired
from rerankbench.rerankers.scorers.permutation import GeneratedPermutation
from tests.models.toy_language_model import LIST, on_cpu
from tests.rerankers.scorers.asked import Said, hostile, listwise

NUMBERED = Prompt(messages=LIST.messages)


def _written(text: str, n: int, prompt: Prompt = NUMBERED, top: int | None = None) -> Any:
    model: Any = Said(texts=[text])
    return GeneratedPermutation(model=model, prompt=prompt).answer(listwise(n, top=top))[0]


@pytest.mark.parametrize(
    ("text", "order"),
    [("[2] > [1] > [3]", [1, 0, 2]), ("2 > 3 > 1", [1, 2, 0]), ("[3] > [3] > [1]", Repaired([2, 0, 1], "")),
     ("[7] > [2]", Repaired([1, 0, 2], "")), ("I cannot say.", Failure("")), ("", Failure(""))],
)  # fmt: skip
def test_orders_are_read_forgivingly(text: str, order: Any) -> None:
    found = _written(text, 3)
    assert type(found) is type(order)
    assert getattr(found, "value", found) == getattr(order, "value", order) or isinstance(order, Failure)


def test_letters_and_a_forced_start() -> None:
    assert _written("B] > [A] > [C]", 3, LIST) == [1, 0, 2], "the prompt's start opened the bracket"


def test_the_best_few_of_a_tournament() -> None:
    assert _written("Document 3, Document 1", 4, top=2) == [2, 0, 1, 3]
    assert _written("Document 3, Document 1, Document 4", 4, top=2).value == [2, 0, 1, 3]
    scorer = GeneratedPermutation(model=Said(), prompt=NUMBERED, tokens_per_document=5, extra_tokens=10)  # type: ignore[arg-type]
    assert scorer.max_new_tokens(listwise(20, top=2)[0]) == 20
    assert scorer.max_new_tokens(listwise(20)[0]) == 110


@given(text=hostile, n=st.integers(1, 6), top=st.one_of(st.none(), st.integers(1, 6)), letters=st.booleans())
def test_whatever_is_generated_is_a_permutation_or_a_failure(text: str, n: int, top: int | None, letters: bool) -> None:
    found = _written(text, n, LIST if letters else NUMBERED, top)
    order = found.value if isinstance(found, Repaired) else found
    assert isinstance(found, Failure) or sorted(order) == list(range(n))
    if not isinstance(found, Failure) and top is not None:
        assert order[top:] == sorted(order[top:]), "behind the best few, the order shown"


def test_a_model_of_random_weights_gives_valid_answers(chat_model: str) -> None:
    scorer = GeneratedPermutation(model=on_cpu(chat_model), prompt=LIST, extra_tokens=2)
    requests = listwise(3, 5, 3, 4)
    found = scorer.answer(requests)
    for request, answer in zip(requests, found, strict=True):
        order = answer.value if isinstance(answer, Repaired) else answer
        assert isinstance(answer, Failure) or sorted(order) == list(range(len(request.candidates)))
    assert [scorer.answer([request])[0] for request in requests] == found
    assert scorer.usage.generated_tokens > 0


def test_a_text_from_elsewhere_is_read_as_a_generated_one() -> None:
    scorer = GeneratedPermutation(model=Said(), prompt=NUMBERED)  # type: ignore[arg-type]
    (request,) = listwise(3)
    assert scorer.read(request, "<think>hm</think> [2] > [1]") == Repaired([1, 0, 2], "missing")
