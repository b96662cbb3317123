"""From configuration nodes to objects: check every node against its target's signature, then build what passed.

`_target_` reaches only classes and functions that are *defined* in this package or in a folder the user named with
`--config-dir`; the resolved object is checked, not the string, because a module re-exports whatever it imports.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankbench.config.check import PROVIDED, checked, find, parameters
from rerankbench.errors import ConfigError, nearest

_PACKAGE = Path(__file__).resolve().parents[1]
_trusted: list[Path] = [_PACKAGE]


def trust(folder: Path) -> None:
    """Let targets be defined in this folder's Python files, too."""
    if folder.resolve() not in _trusted:
        _trusted.append(folder.resolve())


def check(node: Any, key: str) -> Any:
    """The node with every value as its target's signature wants it.

    Raises ConfigError for an unknown or missing key (naming the nearest valid one), a wrong type, or a target that is
    not to be reached. Imports no target.
    """
    if isinstance(node, list):
        return [check(item, f"{key}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    place = f"{key}." if key else ""
    if "_target_" not in node:
        return {k: check(v, f"{place}{k}") for k, v in node.items()}
    definition = find(str(node["_target_"]), f"{place}_target_")
    _require_trusted(definition.file, str(node["_target_"]), f"{place}_target_")
    known = parameters(definition)
    values: dict[str, Any] = {"_target_": node["_target_"]}
    # Plain values before nodes, so that a mistake is told where it was made, not where it was interpolated.
    for name, value in sorted(node.items(), key=lambda item: isinstance(item[1], Mapping | list)):
        if name == "_target_":
            continue
        if name not in known:
            raise ConfigError(f"{place}{name}", f"unknown key; {nearest(str(name), known)}")
        values[name] = checked(check(value, f"{place}{name}"), known[name].annotation, f"{place}{name}")
    for name, parameter in known.items():
        if parameter.required and name not in values and name not in PROVIDED:
            raise ConfigError(f"{place}{name}", f"must be given ({node['_target_']} needs it)")
    return values


def build(node: Any, key: str, **provided: Any) -> Any:
    """The object a checked node describes, inner nodes first; parameters named in `provided` are filled in.

    Raises ConfigError, with the node's place, for what a constructor refuses.
    """
    if isinstance(node, list | tuple):
        return [build(item, f"{key}[{i}]", **provided) for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    values = {k: build(v, f"{key}.{k}", **provided) for k, v in node.items() if k != "_target_"}
    if "_target_" not in node:
        return values
    target = _resolve(str(node["_target_"]), f"{key}._target_")
    wanted = inspect.signature(target).parameters
    values.update({name: value for name, value in provided.items() if name in wanted and name not in values})
    for name, parameter in wanted.items():
        if name in PROVIDED and name not in values and parameter.default is inspect.Parameter.empty:
            raise ConfigError(key, f"needs a {name}: only `rerankbench eval` has one")
    try:
        return target(**values)
    except ConfigError as error:
        root = key.split(".")[0].split("[")[0]
        if error.key.split(".")[0] == root:
            raise
        around, _, own = key.rpartition(".")
        place = around if error.key.split(".")[0] == own else key  # `model.path` in `reranker.scorer.model`
        raise ConfigError(f"{place}.{error.key}", str(error).removeprefix(f"{error.key}: ")) from None


def _resolve(target: str, key: str) -> Any:
    module_name, _, name = target.rpartition(".")
    definition = find(target, key)
    _require_trusted(definition.file, target, key)
    found: Any = getattr(importlib.import_module(module_name), name, None)
    # What was imported must be what was read: a class or function, defined there, under that name.
    plain = inspect.isclass(found) or inspect.isfunction(found)
    source = inspect.getsourcefile(inspect.unwrap(found)) if plain else None
    if source is None or found.__module__ != module_name or found.__qualname__ != name:
        raise ConfigError(key, f"{target!r} is not defined in {module_name}")
    _require_trusted(Path(source), target, key)
    return found


def _require_trusted(file: Path, target: str, key: str) -> None:
    if not any(file.resolve().is_relative_to(folder) for folder in _trusted):
        raise ConfigError(key, f"{target!r} is defined neither in rerankbench nor in a folder given by --config-dir")
