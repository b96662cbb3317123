"""The keys and types a configuration node may have, read from its target's source without importing it.

The signature of the target is the only schema there is, so it cannot fall out of step with the code; reading it with
`ast` keeps the answer to a typing mistake instant, however heavy the target's own imports are.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from rerankbench.errors import ConfigError, nearest

PROVIDED = frozenset({"benchmark"})
"""Parameters that the program fills in when a config leaves them out: the loaded benchmark."""

_SCALARS = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str, int, float)}
_LISTS = {"list", "tuple", "set", "Sequence", "Iterable", "Collection"}
_MAPPINGS = {"dict", "Mapping", "MutableMapping"}


@dataclass(frozen=True)
class Parameter:
    """One key of a target: its annotation as source, and whether it must be given."""

    annotation: ast.expr | None
    required: bool


@dataclass(frozen=True)
class Definition:
    """Where a target is defined, and what stands there."""

    file: Path
    node: ast.ClassDef | ast.FunctionDef
    module: ast.Module


@functools.cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def find(target: str, key: str) -> Definition:
    """The definition of a dotted target; `key` is named by the ConfigError if there is none."""
    module_name, _, name = target.rpartition(".")
    file = _source(module_name)
    if file is None:
        raise ConfigError(key, f"no Python module {module_name!r} to find {name!r} in")
    module = _parse(file)
    defined = {node.name: node for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    if name not in defined:
        raise ConfigError(key, f"{module_name} defines no {name!r}; {nearest(name, defined)}")
    return Definition(file, defined[name], module)


def _source(module_name: str) -> Path | None:
    """The file of a module. Unlike importlib's find_spec it imports no package on the way there."""
    places: Sequence[str] | None = None
    parts = module_name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), places) if parts[depth - 1] else None
        if spec is None or (depth < len(parts) and spec.submodule_search_locations is None):
            return None
        places = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def parameters(definition: Definition) -> dict[str, Parameter]:
    """The parameters of a function, of a class's `__init__`, or of a dataclass with its bases."""
    node = definition.node
    if isinstance(node, ast.FunctionDef):
        return _arguments(node)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _arguments(item)
    found: dict[str, Parameter] = {}
    for base in _bases(definition):
        found.update(parameters(base))
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and _is_field(item):
            found[item.target.id] = Parameter(item.annotation, item.value is None)
    return found


def class_attribute(definition: Definition, name: str) -> str | None:
    """The source of a class attribute's value, such as `answers = Pointwise`, its own or inherited, or None."""
    for item in definition.node.body:
        if isinstance(item, ast.Assign):
            targets: list[ast.expr] = item.targets
        elif isinstance(item, ast.AnnAssign):
            targets = [item.target]
        else:
            continue
        if item.value and any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.unparse(item.value)
    bases = _bases(definition) if isinstance(definition.node, ast.ClassDef) else ()
    return next((found for base in bases if (found := class_attribute(base, name)) is not None), None)


def _arguments(function: ast.FunctionDef) -> dict[str, Parameter]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    found = {a.arg: Parameter(a.annotation, i < first_default) for i, a in enumerate(positional) if a.arg != "self"}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found[argument.arg] = Parameter(argument.annotation, default is None)
    return found


def _is_field(item: ast.AnnAssign) -> bool:
    if ast.unparse(item.annotation).startswith(("ClassVar", "typing.ClassVar")):
        return False
    if isinstance(item.value, ast.Call):
        return not any(k.arg == "init" and ast.unparse(k.value) == "False" for k in item.value.keywords)
    return True


def _bases(definition: Definition) -> Iterator[Definition]:
    """The bases of a class, defined in the same file or imported from one of ours."""
    assert isinstance(definition.node, ast.ClassDef)
    names = [base.id for base in definition.node.bases if isinstance(base, ast.Name)]
    local = {node.name: node for node in definition.module.body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: f"{item.module}.{alias.name}"
        for item in definition.module.body
        if isinstance(item, ast.ImportFrom)
        for alias in item.names
    }
    for name in names:
        if name in local:
            yield Definition(definition.file, local[name], definition.module)
        elif imported.get(name, "").startswith("rerankbench."):
            yield find(imported[name], imported[name])


def checked(value: Any, annotation: ast.expr | None, key: str) -> Any:
    """The value as the annotation wants it (a number given for a `str` becomes one); ConfigError if it does not fit."""
    if annotation is None:
        return value
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return checked(value, ast.parse(annotation.value, mode="eval").body, key)
    options = list(_union(annotation))
    if value is None:
        if any(isinstance(o, ast.Constant) and o.value is None for o in options) or _is_any(options):
            return None
        raise ConfigError(key, f"must be {_describe(options)}, got null")
    options = [o for o in options if not (isinstance(o, ast.Constant) and o.value is None)]
    for option in options:
        fits, result = _fit(value, option, key)
        if fits:
            return result
    for option in options:
        if _name(option) == "Literal" and isinstance(value, str):
            raise ConfigError(key, f"{value!r} is not a choice; {nearest(value, map(str, _choices(option)))}")
    shown = "a node" if isinstance(value, Mapping) else repr(value)
    raise ConfigError(key, f"must be {_describe(options)}, got {shown}")


def _fit(value: Any, option: ast.expr, key: str) -> tuple[bool, Any]:
    name = _name(option)
    if name in _SCALARS:
        fits = isinstance(value, _SCALARS[name]) and (name == "bool" or not isinstance(value, bool))
        return fits, str(value) if fits and name == "str" else float(value) if fits and name == "float" else value
    if name == "Literal":
        return value in _choices(option), value
    if name in _LISTS:
        if not isinstance(value, list | tuple):
            return False, value
        inner = _inner(option)
        return True, [checked(item, inner[0] if inner else None, f"{key}[{i}]") for i, item in enumerate(value)]
    if name in _MAPPINGS:
        if not isinstance(value, Mapping):
            return False, value
        inner = _inner(option)
        return True, {k: checked(v, inner[1] if len(inner) > 1 else None, f"{key}.{k}") for k, v in value.items()}
    if name in {"Any", "object"}:
        return True, value
    return isinstance(value, Mapping), value  # any other class is a nested node


def _union(annotation: ast.expr) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _union(annotation.left)
        yield from _union(annotation.right)
    elif _name(annotation) in ("Optional", "Union"):
        for option in _inner(annotation):
            yield from _union(option)
        if _name(annotation) == "Optional":
            yield ast.Constant(None)
    else:
        yield annotation


def _name(annotation: ast.expr) -> str:
    head = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return head.attr if isinstance(head, ast.Attribute) else head.id if isinstance(head, ast.Name) else ""


def _inner(annotation: ast.expr) -> list[ast.expr]:
    if not isinstance(annotation, ast.Subscript):
        return []
    return list(annotation.slice.elts) if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]


def _choices(literal: ast.expr) -> list[Any]:
    return [ast.literal_eval(choice) for choice in _inner(literal)]


def _is_any(options: list[ast.expr]) -> bool:
    return any(_name(option) in {"Any", "object"} for option in options)


def _describe(options: list[ast.expr]) -> str:
    words = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}
    shown = []
    for option in options:
        name = _name(option)
        if name == "Literal":
            shown.append("one of " + ", ".join(map(str, _choices(option))))
        elif name in _LISTS:
            shown.append("a list")
        elif name in _MAPPINGS or (name and name not in words):
            shown.append("a node" if name in _MAPPINGS else f"a {name} node")
        else:
            shown.append(words.get(name, "null"))
    return " or ".join(shown)
