"""Holds a configuration to the signatures of its targets: keys, types and bounds, before anything is built."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types

from rerankbench.config.signature import parameters
from rerankbench.config.targets import name_of, resolve
from rerankbench.errors import ConfigError, nearest

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def check(node: Any, key: str, folders: Sequence[Path] = ()) -> Any:
    """The node with every value as its target's signature wants it, and every `_target_` the object that it names.

    folders: those of `--config-dir`. Raises ConfigError for an unknown or missing key (naming the nearest valid one), a
    wrong type, a value out of bounds, or a target that is not to be reached.
    """
    if isinstance(node, list):
        return [check(item, f"{key}[{i}]", folders) for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    place = f"{key}." if key else ""
    if "_target_" not in node:
        return {k: check(v, f"{place}{k}", folders) for k, v in node.items()}
    named = node["_target_"]
    target = resolve(str(named), f"{place}_target_", folders) if not callable(named) else named
    known = parameters(target, key)
    values: dict[str, Any] = {"_target_": target}
    for name, value in sorted(node.items(), key=_rank):
        inner = f"{place}{name}"
        if name == "_target_":
            continue
        if name not in known:
            raise ConfigError(inner, f"unknown key; {nearest(str(name), known)}")
        if value == "???":
            raise ConfigError(inner, f"must be given: {f'{name}@' if name in ('model', 'prompt') else ''}{inner}=…")
        values[name] = checked(check(value, inner, folders), known[name].annotation, inner)
    for name, parameter in known.items():
        if parameter.required and name not in values:
            raise ConfigError(f"{place}{name}", f"must be given ({name_of(target)} needs it)")
    return values


def _rank(item: tuple[Any, Any]) -> int:
    """Plain values first, then parts, then lists and mappings of parts: a mistake is reported where it was made, not
    where it was interpolated.
    """
    return 2 * isinstance(item[1], Mapping | list) - (isinstance(item[1], Mapping) and "_target_" in item[1])


def checked(value: Any, annotation: Any, key: str) -> Any:
    """The value as the annotation wants it (a whole number given for a `float` becomes one, a text an enum's member).

    Raises ConfigError, naming the key, for a value that does not fit.
    """
    if annotation is None or annotation is Any or annotation is object:
        return value
    options = _options(annotation)
    if value is None:
        if any(option in (types.NoneType, Any, object) for option in options):
            return None
        raise ConfigError(key, f"must be {describe(annotation)}, got null")
    wrong: ConfigError | None = None
    for option in options:
        try:
            fits, result = _fit(value, option, key)
        except ConfigError as error:  # the right type, but out of bounds, or wrong further in
            wrong = wrong or error
            continue
        if fits:
            return result
    if wrong is not None:
        raise wrong
    for option in options:
        if (choices := _choices(option)) and isinstance(value, str):
            raise ConfigError(key, f"{value!r} is not a choice; {nearest(value, map(str, choices))}")
    if isinstance(value, Mapping):
        target = value.get("_target_")
        shown = f"a node of {target.__name__}" if callable(target) else "a mapping"
    else:
        shown = repr(value)
    raise ConfigError(key, f"must be {describe(annotation)}, got {shown}")


def describe(annotation: Any) -> str:
    """An annotation in words, its bounds included."""
    shown = []
    for option in _options(annotation):
        plain, bounds = _plain(option)
        origin = get_origin(plain) or plain
        if choices := _choices(plain):
            text = "one of " + ", ".join(map(str, choices))
        elif plain in _WORDS:
            text = _WORDS[plain]
        elif plain is types.NoneType:
            text = "null"
        elif plain in (Any, object):
            text = "anything"
        elif _is_list(origin):
            text = "a list"
        elif _is_mapping(origin):
            text = "a mapping"
        else:
            text = f"a node of {getattr(plain, '__name__', plain)}"
        shown.append(" ".join([text, *filter(None, [" and ".join(_bound_words(bound) for bound in bounds)])]))
    return " or ".join(sorted(shown, key=lambda text: text == "null"))


def _fit(value: Any, option: Any, key: str) -> tuple[bool, Any]:
    """Whether the value is of this type, and the value as the type has it. Raises ConfigError for one out of bounds."""
    plain, bounds = _plain(option)
    if bounds:
        fits, result = _fit(value, plain, key)
        if fits:
            _require_bounds(result, bounds, key)
        return fits, result
    origin, inner = get_origin(plain) or plain, get_args(plain)
    if plain is bool:
        return isinstance(value, bool), value
    if plain in (int, float):
        fits = isinstance(value, int if plain is int else int | float) and not isinstance(value, bool)
        return fits, plain(value) if fits else value
    if plain is str:
        fits = isinstance(value, str | int | float) and not isinstance(value, bool)
        return fits, str(value) if fits else value
    if plain is Path:
        return isinstance(value, str), Path(value) if isinstance(value, str) else value
    if origin is Literal:
        return value in inner and type(value) in {type(choice) for choice in inner}, value
    if inspect.isclass(plain) and issubclass(plain, enum.Enum):
        found = next((member for member in plain if value in (member.name, member.value)), None)
        return found is not None, found
    if plain in (Any, object):
        return True, value
    if _is_list(origin):
        if not isinstance(value, list | tuple):
            return False, value
        if origin is tuple and ... not in inner and len(inner) != len(value):
            raise ConfigError(key, f"must be {len(inner)} values, got {len(value)}")
        wanted = inner if origin is tuple and ... not in inner else [inner[0] if inner else None] * len(value)
        pairs = enumerate(zip(value, wanted, strict=True))
        items = [checked(item, one, f"{key}[{i}]") for i, (item, one) in pairs]
        return True, origin(items) if origin in (tuple, set, frozenset) else items
    if _is_mapping(origin):
        if not isinstance(value, Mapping) or "_target_" in value:
            return False, value
        return True, {k: checked(v, inner[1] if len(inner) > 1 else None, f"{key}.{k}") for k, v in value.items()}
    return _is_node_of(value, plain), value


def _is_node_of(value: Any, wanted: Any) -> bool:
    """Whether this is a node that makes such an object, so far as that is known before it is made."""
    if not isinstance(value, Mapping) or "_target_" not in value:
        return False
    target = value["_target_"]
    concrete = inspect.isclass(wanted) and not getattr(wanted, "_is_protocol", False)
    return not concrete or not inspect.isclass(target) or issubclass(target, wanted)


def _options(annotation: Any) -> list[Any]:
    """The members of a union, each with its bounds, or the annotation itself."""
    annotation = getattr(annotation, "__value__", annotation)  # type Alias = …
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    plain, bounds = _plain(annotation)
    if bounds and len(inner := _options(plain)) > 1:
        return [option if option is types.NoneType else Annotated[(option, *bounds)] for option in inner]
    return [annotation]


def _plain(option: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type without its bounds, and the bounds."""
    if get_origin(option) is not Annotated:
        return option, ()
    plain, *bounds = get_args(option)
    return plain, tuple(bounds)


def _choices(option: Any) -> list[Any]:
    if get_origin(option) is Literal:
        return list(get_args(option))
    if inspect.isclass(option) and issubclass(option, enum.Enum):
        return [member.name for member in option]
    return []


def _is_list(origin: Any) -> bool:
    return inspect.isclass(origin) and issubclass(origin, Sequence | set | frozenset) and not issubclass(origin, str)


def _is_mapping(origin: Any) -> bool:
    return inspect.isclass(origin) and issubclass(origin, Mapping)


_COMPARISONS: dict[type, tuple[str, str, typing.Callable[[Any, Any], bool]]] = {
    annotated_types.Ge: ("ge", "at least", lambda value, bound: value >= bound),
    annotated_types.Gt: ("gt", "above", lambda value, bound: value > bound),
    annotated_types.Le: ("le", "at most", lambda value, bound: value <= bound),
    annotated_types.Lt: ("lt", "below", lambda value, bound: value < bound),
    annotated_types.MinLen: ("min_length", "at least", lambda value, bound: len(value) >= bound),
    annotated_types.MaxLen: ("max_length", "at most", lambda value, bound: len(value) <= bound),
}


def _require_bounds(value: Any, bounds: Sequence[Any], key: str) -> None:
    for bound in _single(bounds):
        name, words, holds = _COMPARISONS[type(bound)]
        if not holds(value, getattr(bound, name)):  # nan fails every comparison
            unit = " long" if "length" in name else ""
            raise ConfigError(key, f"must be {words} {getattr(bound, name)}{unit}, got {value!r}")


def _bound_words(bound: Any) -> str:
    return " and ".join(
        f"{_COMPARISONS[type(one)][1]} {getattr(one, _COMPARISONS[type(one)][0])}" for one in _single([bound])
    )


def _single(bounds: Sequence[Any]) -> list[Any]:
    """The bounds one by one: an Interval or Len is several."""
    grouped = (list(bound) if isinstance(bound, annotated_types.GroupedMetadata) else [bound] for bound in bounds)
    return [bound for group in grouped for bound in group if type(bound) in _COMPARISONS]
