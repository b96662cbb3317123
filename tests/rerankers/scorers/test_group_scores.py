"""Scores written for a group: any text gives finite scores on the scale, or a failure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure, Repaired
from rerankbench.rerankers.scorers.group_scores import GroupScores
from tests.models.toy_language_model import LIST
from tests.rerankers.scorers.asked import Said, groupwise, hostile

NUMBERED = Prompt(messages=LIST.messages)


def _scored(text: str, n: int, **options: Any) -> Any:
    model: Any = Said(texts=[text])
    return GroupScores(model=model, prompt=NUMBERED, **options).answer(groupwise(n))[0]


def test_json_behind_a_reason() -> None:
    assert _scored('<reason>[1] is 9</reason><answer>{"[1]": 5, "[2]": 0}</answer>', 2) == [5.0, 0.0]


def test_missing_scores_stay_missing_and_others_are_clipped() -> None:
    found = _scored('{"[2]": 99}', 3, low=0, high=4)
    assert isinstance(found, Repaired) and found.value == [None, 4.0, None]


@given(text=hostile)
def test_whatever_is_generated_is_scores_on_the_scale_or_a_failure(text: str) -> None:
    found = _scored(text, 4)
    scores = found.value if isinstance(found, Repaired) else found
    assert isinstance(found, Failure) or (len(scores) == 4 and any(s is not None for s in scores))
    assert isinstance(found, Failure) or all(s is None or 0 <= s <= 10 for s in scores)


def test_generation_ends_with_the_answer() -> None:
    model: Any = Said(texts=["[1, 2]"])
    GroupScores(model=model, prompt=NUMBERED, new_tokens=77).answer(groupwise(2, 2, 2))
    assert model.asked == [{"max_new_tokens": 77, "stop": ("</answer>",), "n": 3}]


def test_options_are_checked() -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match=r"^low: "):
        GroupScores(model=model, prompt=NUMBERED, low=3, high=3)
    with pytest.raises(ConfigError, match=r"^prompt\.label_style"):
        GroupScores(model=model, prompt=LIST)
