"""The signature of a target is its schema: its parameters with their types, bounds and defaults, read from the object.

Bounds stand in the annotation: `depth: Annotated[int, Ge(0)] | None = None` (the package annotated-types).
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.config.targets import Target, name_of
from rerankbench.errors import ConfigError

PROVIDED = frozenset({"benchmark", "folders"})
"""Parameters that the program fills in, no configuration: the loaded benchmark, the folders of `--config-dir`."""

NO_DEFAULT = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One key of a target: its evaluated annotation (None where there is none), and its default or NO_DEFAULT."""

    annotation: Any
    default: Any = NO_DEFAULT

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is NO_DEFAULT


def parameters(target: Target, key: str = "") -> dict[str, Parameter]:
    """The parameters that a configuration may set, in their order.

    Raises ConfigError (with `key`) for an annotation that cannot be evaluated.
    """
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name in PROVIDED or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        found[name] = Parameter(_annotation(target, name, parameter.annotation, key), _default(target, parameter))
    return found


def as_node(value: Any) -> Any:
    """A default as a configuration has it: a dataclass a node with its `_target_`, an enum a name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {f.name: as_node(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"_target_": name_of(type(value)), **own}
    if isinstance(value, Mapping):
        return {key: as_node(inner) for key, inner in value.items()}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    return [as_node(inner) for inner in value] if isinstance(value, list | tuple) else value


def _default(target: Target, parameter: inspect.Parameter) -> Any:
    if dataclasses.is_dataclass(target):
        for field in dataclasses.fields(target):
            if field.name == parameter.name and field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
    return parameter.default


def _annotation(target: Target, name: str, annotation: Any, key: str) -> Any:
    """The annotation as an object; a text is evaluated where it was written, which may be a base class's module."""
    if annotation is NO_DEFAULT or not isinstance(annotation, str):
        return None if annotation is NO_DEFAULT else annotation
    owner: Any = target
    if inspect.isclass(target) and dataclasses.is_dataclass(target):
        owner = next((base for base in target.__mro__ if name in vars(base).get("__annotations__", {})), target)
    elif inspect.isclass(target):
        owner = next((base for base in target.__mro__ if "__init__" in vars(base)), target)
    try:
        while isinstance(annotation, str):  # quoted under `from __future__ import annotations`: a text in a text
            annotation = eval(annotation, dict(vars(sys.modules[owner.__module__])))
    except Exception as error:  # whatever a user's annotation raises
        place = f"{key}.{name}" if key else name
        raise ConfigError(place, f"its annotation in {name_of(target)} cannot be read: {error}") from error
    return annotation
