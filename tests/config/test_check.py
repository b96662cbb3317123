"""Values are held to the types and bounds of a target's signature, which is read from the object."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from annotated_types import Ge, Gt, Interval, MinLen

from rerankbench.config.check import check, checked, describe
from rerankbench.errors import ConfigError


class Shade(enum.Enum):
    light = "l"
    dark = "d"


Alias = Literal["a", "b"]


class Model:
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (str, 2024, "2024"),
        (int | None, None, None),
        (Sequence[str], ["a"], ["a"]),
        (Mapping[str, float], {"a": 1}, {"a": 1.0}),
        (Alias, "a", "a"),
        (Any, None, None),
        (Optional[int], None, None),  # noqa: UP045
        (Union[int, str], "x", "x"),  # noqa: UP007
        (Model, {"_target_": Model}, {"_target_": Model}),
        (Shade, "dark", Shade.dark),
        (Path, "~/x", Path("~/x")),
        (Annotated[int, Ge(0)] | None, 0, 0),
        (Annotated[int, Ge(0)] | None, None, None),
        (Sequence[Annotated[int, Gt(0)]], [1, 2], [1, 2]),
    ],
)
def test_fitting_values_pass(annotation: Any, value: object, expected: object) -> None:
    assert checked(value, annotation, "key") == expected


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, True),
        (int, 3.5),
        (int, "3"),
        (bool, 1),
        (str, True),
        (int, None),
        (Sequence[str], "abc"),
        (Sequence[int], ["a"]),
        (Alias, "c"),
        (Alias, True),
        (Model, "minilm"),
        (Model, {"_target_": Shade}),
        (Mapping[str, int], [1]),
        (Shade, "grey"),
        (Path, 3),
        (Annotated[int, Ge(0)] | None, -1),
        (Annotated[float, Interval(gt=0, le=1)], 0),
        (Annotated[float, Ge(0)], float("nan")),
        (Annotated[Sequence[str], MinLen(1)], []),
    ],
)
def test_other_values_are_refused_by_key(annotation: Any, value: object) -> None:
    with pytest.raises(ConfigError, match=r"some\.key"):
        checked(value, annotation, "some.key")


def test_bounds_are_said_in_words() -> None:
    with pytest.raises(ConfigError, match="key: must be at least 0, got -1"):
        checked(-1, Annotated[int, Ge(0)] | None, "key")
    assert describe(Annotated[float, Interval(gt=0, le=1)] | None) == "a number above 0 and at most 1 or null"


def test_a_reexported_class_is_not_a_target() -> None:
    with pytest.raises(ConfigError, match="defines no 'Path'"):
        check({"_target_": "rerankbench.store.Path"}, "x")


def test_a_rebound_name_is_not_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sly_plugin.py").write_text("class Nice: pass\nimport subprocess\nNice = subprocess.Popen\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="not defined in sly_plugin"):
        check({"_target_": "sly_plugin.Nice"}, "x", [tmp_path])
