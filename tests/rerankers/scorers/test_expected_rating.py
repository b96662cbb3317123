"""Ratings: the identities of expectation, and labels of any length."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure
from rerankbench.rerankers.scorers.expected_rating import ExpectedRating
from rerankbench.rerankers.scorers.yes_no import YesNo
from tests.models.toy_language_model import YES_NO, on_cpu
from tests.rerankers.scorers.asked import Said, pointwise

ONE = pointwise(1)


def _prompt(labels: list[str], values: list[float] | None) -> Prompt:
    return Prompt(messages=YES_NO.messages, plain_start=YES_NO.plain_start, labels=labels, values=values)


def _rated(scores: list[float | None], values: list[float], **options: Any) -> Any:
    model: Any = Said(scores=lambda prompt, labels: scores)
    labels = [f"label {chr(65 + i)}" for i in range(len(values))]
    return ExpectedRating(model=model, prompt=_prompt(labels, values), **options).answer(ONE)[0]


def test_values_0_and_1_give_the_probability_of_yes(chat_model: str) -> None:
    requests = pointwise(12)
    model = on_cpu(chat_model)
    ratings = ExpectedRating(model=model, prompt=_prompt(["Yes", "No"], [1, 0])).answer(requests)
    assert ratings == pytest.approx([math.exp(s) for s in YesNo(model=model, prompt=YES_NO).answer(requests)], abs=1e-6)


@given(values=st.lists(st.floats(-9, 9), min_size=2, max_size=6), score=st.floats(-50, 50))
def test_equal_scores_give_the_mean_value(values: list[float], score: float) -> None:
    assert _rated([score] * len(values), values) == pytest.approx(sum(values) / len(values), abs=1e-9)


@given(scores=st.lists(st.floats(-900, 900), min_size=4, max_size=4), shift=st.floats(-100, 100))
def test_a_rating_lies_on_the_scale_and_knows_no_constant(scores: list[float], shift: float) -> None:
    rating = _rated(list(scores), [0, 1, 2, 3])
    assert 0 <= rating <= 3
    assert _rated([score + shift for score in scores], [0, 1, 2, 3]) == pytest.approx(rating, abs=1e-6)


def test_peak_is_the_score_of_the_highest_value() -> None:
    assert _rated([-1.0, -2.0, -3.0], [5, 9, 0], mode="peak") == -2.0


def test_labels_of_one_token_may_be_scored_whole(chat_model: str) -> None:
    requests, prompt = pointwise(10), _prompt(["0", "1", "2"], [0, 1, 2])
    token = ExpectedRating(model=on_cpu(chat_model), prompt=prompt).answer(requests)
    whole = ExpectedRating(model=on_cpu(chat_model), prompt=prompt, labels="whole").answer(requests)
    assert whole == pytest.approx(token, abs=1e-4)


@pytest.mark.parametrize("kind", ["chat_model", "t5_model"])
def test_longer_labels_are_scored_by_their_sum(kind: str, request: pytest.FixtureRequest) -> None:
    labels = ["red roses of the garden", "black dog", "a"]
    scorer = ExpectedRating(model=on_cpu(request.getfixturevalue(kind)), prompt=_prompt(labels, [2, 1, 0]), mode="peak",
                            labels="whole")  # fmt: skip
    requests = pointwise(6)
    prompts = [scorer.encode_prompt(one) for one in requests]
    means = scorer.language_model.log_likelihoods(prompts, [labels[0]] * 6)
    assert scorer.answer(requests) == pytest.approx([5 * mean for mean in means], rel=1e-4)


def test_a_longer_label_is_refused_as_a_token_and_told_the_way_out(chat_model: str) -> None:
    scorer = ExpectedRating(model=on_cpu(chat_model), prompt=_prompt(["black dog", "cat"], [1, 0]))
    with pytest.raises(ConfigError, match=r"^labels: 'black dog'.*or set labels=whole"):
        scorer.answer(ONE)


def test_a_label_that_begins_another_is_refused() -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match="'relevant' begins 'relevant indeed'"):
        ExpectedRating(model=model, prompt=_prompt(["no", "relevant indeed", "relevant"], [0, 2, 1]), labels="whole")


@pytest.mark.parametrize(("labels", "values"), [(["0"], [0]), (["0", "1"], None)])
def test_a_scale_needs_labels_and_values(labels: list[str], values: list[float] | None) -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match=r"prompt\.labels"):
        ExpectedRating(model=model, prompt=_prompt(labels, values))


def test_a_label_that_is_not_told_is_a_failure() -> None:
    assert _rated([0.0, None, 1.0], [0, 1, 2]) == Failure("no label")


def test_white_space_around_a_label_does_not_count(chat_model: str) -> None:
    def rated(*labels: str) -> Any:
        prompt = _prompt(list(labels), [1, 0])
        return ExpectedRating(model=on_cpu(chat_model), prompt=prompt, labels="whole").answer(pointwise(2))

    assert rated(" black dog", " a") == rated("black dog", "a")
