"""The history of a training: one JSON line for each step that was logged, in `history.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.errors import DataError
from rerankbench.store import write_atomically

SCHEMA = 1
HISTORY_FILE = "history.jsonl"
_PLACE = ("schema", "stage", "step", "epoch")


@dataclass(frozen=True, slots=True)
class Entry:
    """What was logged at one step. stage: from 0. step: optimiser steps of this stage so far. epoch: passes so far.

    values: series by name; what stands before a `/` is its family (`dev/ndcg@10`). nan where a value was not finite.
    """

    stage: int
    step: int
    epoch: float | None
    values: Mapping[str, float]


class History:
    """A history file to write to; what a killed process left half-written at its end is cut off by the first line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = False

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line: `stage`, `step`, perhaps `epoch`, and numbers by name. Raises KeyError without stage or step."""
        place = {"schema": SCHEMA, "stage": int(line["stage"]), "step": int(line["step"])}
        values = {name: _finite(value) for name, value in line.items() if name not in place}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._whole:
            _cut_half_line(self.path)
            self._whole = True
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**place, **values}, ensure_ascii=False, allow_nan=False) + "\n")

    def entries(self) -> list[Entry]:
        """What was written so far."""
        return read_history(self.path)[0]

    def truncate(self, stage: int, step: int) -> None:
        """Cut away what lies beyond this step of this stage: a training that resumes there logs it again."""
        if not self.path.exists():
            return
        entries = self.entries()
        lines = self.path.read_bytes().split(b"\n")[: len(entries)]
        kept = [line for line, e in zip(lines, entries, strict=True) if (e.stage, e.step) <= (stage, step)]
        write_atomically(self.path, b"".join(line + b"\n" for line in kept).decode())


def read_history(path: Path) -> tuple[list[Entry], int]:
    """The entries in the order they were written, and how many lines (0 or 1) were half-written and left out.

    An absent file is an empty history. Raises DataError, with the line, for anything else that is no entry.
    """
    if not path.exists():
        return [], 0
    # Not as lines of text: JSON leaves Unicode's other line separators as they are.
    *lines, rest = path.read_bytes().decode(errors="replace").split("\n")
    return [_entry(path, number, line) for number, line in enumerate(lines, 1)], int(bool(rest))


def offsets(entries: Iterable[Entry]) -> dict[int, int]:
    """Stage → steps of all stages before it, so that offset + step grows over the whole training."""
    last: dict[int, int] = {}
    for entry in entries:
        last[entry.stage] = max(last.get(entry.stage, 0), entry.step)
    return {stage: sum(steps for earlier, steps in last.items() if earlier < stage) for stage in sorted(last)}


def _cut_half_line(path: Path) -> None:
    text = path.read_bytes() if path.exists() else b""
    if text and not text.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)


def _finite(value: Any) -> float | None:
    """JSON has no nan: a loss that is lost becomes null, and stays in the record."""
    return float(value) if math.isfinite(value) else None


def _entry(path: Path, number: int, line: str) -> Entry:
    try:
        data = json.loads(line)
        if data.get("schema", 1) > SCHEMA:
            raise DataError(path, f"written by a newer rerankbench (schema {data['schema']} > {SCHEMA})", number)
        values = {name: math.nan if v is None else float(v) for name, v in data.items() if name not in _PLACE}
        return Entry(int(data["stage"]), int(data["step"]), data.get("epoch"), values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(path, f"is no entry of a history ({type(error).__name__}: {error})", number) from error
