"""What a `_target_` may reach: classes and functions *defined* in this package or below a folder the user named.

The resolved object is checked, not the string, because a module re-exports whatever it imports; and the module's source
is found and trusted before anything is imported, because an import runs code.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, TypeVar

from rerankbench.errors import ConfigError, nearest

Target = Callable[..., Any]
F = TypeVar("F", bound=Target)
_PACKAGE = Path(__file__).resolve().parents[1]


def resolve(target: str, key: str, folders: Sequence[Path] = ()) -> Target:
    """The class or function of this dotted name.

    folders: those of `--config-dir`. Raises ConfigError (with `key`) for anything else, without importing it.
    """
    module_name, _, name = target.rpartition(".")
    file = _source(module_name)
    if file is None:
        raise ConfigError(key, f"no Python module {module_name!r} to find {name!r} in")
    _require_trusted(file, target, key, folders)
    defined = _defined(file, file.stat().st_mtime_ns)
    if name not in defined:
        raise ConfigError(key, f"{module_name} defines no {name!r}; {nearest(name, defined)}")
    found: Any = getattr(importlib.import_module(module_name), name, None)
    # What was imported must be what was read: a class or function, defined there, under that name.
    plain = inspect.isclass(found) or inspect.isfunction(found)
    source = inspect.getsourcefile(inspect.unwrap(found)) if plain else None
    if source is None or found.__module__ != module_name or found.__qualname__ != name:
        raise ConfigError(key, f"{target!r} is not defined in {module_name}")
    _require_trusted(Path(source), target, key, folders)
    own = Path(source).resolve().is_relative_to(_PACKAGE)
    if name.startswith("_") or (own and inspect.isfunction(found) and not hasattr(found, "configurable")):
        raise ConfigError(key, f"{target!r} is not made to be configured")
    resolved: Target = found
    return resolved


def configurable(function: F) -> F:
    """Let a configuration call this function of the package; others act on files, say."""
    vars(function)["configurable"] = True
    return function


def name_of(target: Target) -> str:
    """The dotted name that `resolve` finds this target by."""
    return f"{target.__module__}.{target.__qualname__}"


@lru_cache(maxsize=1024)
def _defined(file: Path, changed: int) -> tuple[str, ...]:
    """The names of a module's classes and functions. changed: the file's time of change, so that edits are seen."""
    body = ast.parse(file.read_text(encoding="utf-8"), filename=str(file)).body
    return tuple(node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef))


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


def _require_trusted(file: Path, target: str, key: str, folders: Sequence[Path]) -> None:
    if not any(file.resolve().is_relative_to(folder.resolve()) for folder in (_PACKAGE, *folders)):
        raise ConfigError(key, f"{target!r} is defined neither in rerankbench nor in a folder given by --config-dir")
