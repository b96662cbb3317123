"""From checked configuration nodes to objects."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rerankbench.config.signature import PROVIDED
from rerankbench.errors import ConfigError, tell_place


def build(node: Any, key: str, **provided: Any) -> Any:
    """The object that a node describes which `check` returned, inner nodes first.

    provided: parameters that only the program has; a target whose signature names one gets it. Each object is told its
    place (see `errors.key_of`). Raises ConfigError, with the full key, for what a constructor refuses.
    """
    if isinstance(node, list | tuple):
        return [build(item, f"{key}[{i}]", **provided) for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    values = {k: build(v, f"{key}.{k}" if key else str(k), **provided) for k, v in node.items() if k != "_target_"}
    if "_target_" not in node:
        return values
    target = node["_target_"]
    if not callable(target):
        raise ConfigError(f"{key}._target_", f"{target!r} has not been checked")
    wanted = inspect.signature(target).parameters
    values.update({name: value for name, value in provided.items() if name in wanted and name not in values})
    for name, parameter in wanted.items():
        if name in PROVIDED and name not in values and parameter.default is inspect.Parameter.empty:
            raise ConfigError(key, f"needs a {name}: only `rerankbench eval` has one")
    try:
        built = target(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error.key}" if error.key else key, error.problem) from None
    tell_place(built, key)
    return built
