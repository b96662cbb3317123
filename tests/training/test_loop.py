"""A loop's options are checked where they are given."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.training.loop import Loop


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0.0),
        ("batch_groups", 0),
        ("accumulation", -1),
        ("learning_rate", 0.0),
        ("evaluations", 0),
        ("max_steps", 0),
        ("patience", 0),
        ("batch_tokens", 0),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("accumulation", 3),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        build(check({"_target_": Loop, key: value}, "loop"), "loop")
    assert caught.value.key == f"loop.{key}"


def test_parts_divide_a_step() -> None:
    assert Loop(batch_groups=12, accumulation=3).accumulation == 3
    with pytest.raises(ConfigError, match="must divide batch_groups"):
        Loop(batch_groups=12, accumulation=5)
