"""What scorers share: budgets, records, fingerprints, errors that name the query."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.expected_rating import ExpectedRating
from rerankbench.rerankers.scorers.permutation import GeneratedPermutation
from rerankbench.rerankers.scorers.prompted import batch_by, log_share
from rerankbench.rerankers.scorers.yes_no import YesNo
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_language_model import LIST, YES_NO, on_cpu
from tests.rerankers.scorers.asked import Said, listwise, pointwise


def _said(**options: Any) -> Any:
    return Said(**options)


def test_a_query_that_does_not_fit_is_named(chat_model: str) -> None:
    long = Pointwise(Query("q-long", "what " * 300), Candidate(Document("d", "cat"), 0, 1.0))
    with pytest.raises(ConfigError, match=r"^max_length: query 'q-long': the prompt does not fit"):
        YesNo(model=on_cpu(chat_model), prompt=YES_NO).answer([*pointwise(2), long])


def test_tokens_are_told_without_being_counted_as_asked(chat_model: str) -> None:
    scorer = YesNo(model=on_cpu(chat_model, max_length=40), prompt=YES_NO)
    long = Pointwise(Query("q", "what"), Candidate(Document("d", "cat " * 90), 0, 1.0))
    assert scorer.tokens(long) == 40
    assert scorer.usage.truncated_inputs == 0
    scorer.answer([long])
    assert scorer.usage.truncated_inputs == 1
    assert scorer.usage.prompt_tokens == 40


def test_answers_are_written_down() -> None:
    kept: list[Any] = []
    scorer = YesNo(model=_said(), prompt=YES_NO)
    scorer.record = lambda request, prompt, answer: kept.append((request, prompt, answer))
    requests = pointwise(2)
    scorer.answer(requests)
    assert [(request, answer) for request, _, answer in kept] == [(request, [0.0, 0.0]) for request in requests]
    assert requests[0].query.text in kept[0][1]


def test_requests_with_the_same_max_new_tokens_are_generated_in_one_batch() -> None:
    model = _said(texts=["[2] > [1] > [3]"])
    scorer = GeneratedPermutation(model=model, prompt=Prompt(messages=LIST.messages), extra_tokens=1)
    assert [len(answer) for answer in scorer.answer(listwise(3, 5, 3, 5, 3)) if isinstance(answer, list)] == [3, 3, 3]
    assert [(one["max_new_tokens"], one["n"]) for one in model.asked] == [(19, 3), (31, 2)]


def test_a_fingerprint_is_of_weights_prompt_and_options() -> None:
    prompt = Prompt(messages=[{"content": "{{ query }}"}], labels=["0", "1"], values=[0, 1])
    scorers: list[Any] = [
        YesNo(model=_said(), prompt=prompt),
        YesNo(model=_said(fingerprint="other"), prompt=prompt),
        YesNo(model=_said(), prompt=YES_NO),
        ExpectedRating(model=_said(), prompt=prompt),
        ExpectedRating(model=_said(), prompt=prompt, mode="peak"),
        ExpectedRating(model=_said(), prompt=prompt, labels="whole"),
    ]
    assert len({scorer.fingerprint() for scorer in scorers}) == len(scorers)
    assert YesNo(model=_said(), prompt=prompt).fingerprint() == scorers[0].fingerprint()


def test_answers_come_back_in_order() -> None:
    requests = pointwise(9)
    key = {request: i % 3 for i, request in enumerate(requests)}
    assert batch_by(requests, key.__getitem__, lambda k, some: [(k, r) for r in some]) == [
        (key[r], r) for r in requests
    ]


@pytest.mark.parametrize(
    ("first", "second", "log"),
    [(0.0, 0.0, -0.6931471805599453), (1000.0, 0.0, 0.0), (0.0, 1000.0, -1000.0), (None, 0.0, None), (0.0, None, None)],
)
def test_the_log_of_a_share(first: float | None, second: float | None, log: float | None) -> None:
    assert log_share(first, second) == (log if log is None else pytest.approx(log))
