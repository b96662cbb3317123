"""The two mistakes a user can make: in the configuration, and in the data. Both end as one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend; the command line prints it as one line and exits with code 2."""


class ConfigError(UserError):
    """A wrong key, type or value in the configuration; `key` is its dotted place."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


def tell_place(part: object, key: str) -> None:
    """Let a part of the configuration know where it stands, so that what it raises later names a key that exists."""
    with suppress(AttributeError):  # slots, or None: it raises nothing of its own
        object.__setattr__(part, "_place", key)


def key_of(part: object, field: str) -> str:
    """The full key of a part's field; of a part that was made by hand the field alone."""
    place = getattr(part, "_place", "")
    return f"{place}.{field}" if place and field else place or field


class DataError(UserError):
    """A file that cannot be used; names the file and, where there is one, the line (from 1)."""

    def __init__(self, path: Path | str, problem: str, line: int | None = None) -> None:
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {problem}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name, or all of them where none is near and they are few."""
    names = sorted(set(valid))
    last = {known.rpartition(".")[2]: known for known in reversed(names)}
    for candidates in ({known: known for known in names}, last):  # whole names first, then without their path
        if close := get_close_matches(name.rpartition(".")[2] if candidates is last else name, candidates, n=1):
            return f"did you mean {candidates[close[0]]!r}?"
    if not names:
        return "there is none to choose from"
    shown = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
    return f"choose from: {shown}"
