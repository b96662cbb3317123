"""Signatures read from source give the same keys as importing would, and values are held to their types."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from typing import Any

import pytest
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.check import check, checked, find, parameters
from rerankbench.config.options import conf_folder
from rerankbench.errors import ConfigError


def _targets() -> list[str]:
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "_target_" in node:
                found.add(node["_target_"])
            for value in node.values():
                walk(value)

    for file in conf_folder().rglob("*.yaml"):
        walk(OmegaConf.to_container(OmegaConf.load(file), resolve=False))
    return sorted(found)


@pytest.mark.parametrize("target", _targets())
def test_parameters_read_from_source_are_those_of_the_object(target: str) -> None:
    module, _, name = target.rpartition(".")
    signature = inspect.signature(getattr(import_module(module), name))
    read = parameters(find(target, "x"))
    assert set(read) == set(signature.parameters)
    required = {name for name, parameter in signature.parameters.items() if parameter.default is parameter.empty}
    assert {name for name, parameter in read.items() if parameter.required} == required


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("int", 3, 3),
        ("float", 3, 3.0),
        ("str", 2024, "2024"),
        ("int | None", None, None),
        ("Sequence[str]", ["a"], ["a"]),
        ("Mapping[str, float]", {"a": 1}, {"a": 1.0}),
        ("Literal['a', 'b']", "a", "a"),
        ("Any", None, None),
        ("'int | None'", 4, 4),
        ("Optional[int]", None, None),
        ("Optional[int]", 4, 4),
        ("Union[int, str]", "x", "x"),
        ("Model", {"_target_": "x"}, {"_target_": "x"}),
    ],
)
def test_fitting_values_pass(annotation: str, value: object, expected: object) -> None:
    assert checked(value, ast.parse(annotation, mode="eval").body, "key") == expected


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", True),
        ("int", 3.5),
        ("int", "3"),
        ("bool", 1),
        ("str", True),
        ("int", None),
        ("Sequence[str]", "abc"),
        ("Sequence[int]", ["a"]),
        ("Literal['a', 'b']", "c"),
        ("Model", "minilm"),
        ("Mapping[str, int]", [1]),
    ],
)
def test_other_values_are_refused_by_key(annotation: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"some\.key"):
        checked(value, ast.parse(annotation, mode="eval").body, "some.key")


def test_a_reexported_class_is_not_a_target() -> None:
    with pytest.raises(ConfigError, match="defines no 'Path'"):
        check({"_target_": "rerankbench.store.Path"}, "x")


def test_a_rebound_name_is_not_a_target(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sly_plugin.py").write_text("class Nice: pass\nimport subprocess\nNice = subprocess.Popen\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    trust(tmp_path)
    with pytest.raises(ConfigError, match="not defined in sly_plugin"):
        build({"_target_": "sly_plugin.Nice"}, "x")
