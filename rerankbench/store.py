"""The store: first-stage runs, indexes and answers, each under a hash of all that it depends on.

It is a cache: everything in it can be deleted at any time. Several processes may share one store: files appear by
atomic rename, answers are in SQLite.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rerankbench.errors import ConfigError, UserError
from rerankbench.types import Run


def content_hash(*parts: Any) -> str:
    """A short hash (32 hex digits) of JSON-like values, the same in every process."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Store:
    """A folder with `runs/`, `indexes/` and `answers.sqlite`. Raises ConfigError for one that cannot be written to."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError("store.dir", f"cannot make {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise ConfigError("store.dir", f"cannot write to {folder}")
        self.folder = folder
        self._answers: sqlite3.Connection | None = None

    def run(self, key: str, retrieve: Callable[[], Run]) -> tuple[Run, bool]:
        """The run stored under `key`, or the one `retrieve` returns, then stored; and whether it was stored before."""
        path = self.folder / "runs" / f"{key}.json"
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {query: [(doc, score) for doc, score in ranking] for query, ranking in stored.items()}, True
        run = retrieve()
        write_atomically(path, json.dumps(run, ensure_ascii=False))
        return run, False

    def index(self, key: str, build: Callable[[Path], None]) -> tuple[Path, bool]:
        """The index folder stored under `key`, filled by `build` if new; and whether it was there before.

        No process sees a half-built index: it is built in a temporary folder, which is renamed.
        """
        path = self.folder / "indexes" / key
        if path.is_dir():
            return path, True
        path.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=path.parent))
        building.chmod(0o755)
        try:
            build(building)
            try:
                building.rename(path)
            except OSError:  # another process finished the same index first
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return path, False

    def answers(self, keys: Sequence[str]) -> dict[str, Any]:
        """The stored answers among these keys; keys without an answer are left out."""
        connection = self._connect()
        answers: dict[str, Any] = {}
        for start in range(0, len(keys), 500):  # SQLite bounds the parameters of one statement
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
            answers.update((key, json.loads(value)) for key, value in rows)
        return answers

    def add_answers(self, answers: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Store answers durably; one that is already there stays as it is."""
        pairs = answers.items() if isinstance(answers, Mapping) else answers
        with self._connect() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?)", [(key, json.dumps(value)) for key, value in pairs]
            )

    def _connect(self) -> sqlite3.Connection:
        if self._answers is None:
            self._answers = sqlite3.connect(self.folder / "answers.sqlite", timeout=60)
            _write_ahead(self._answers)
            self._answers.execute("PRAGMA synchronous=NORMAL")
            self._answers.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        return self._answers

    def close(self) -> None:
        """Close the answers; the store can be used again afterwards."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Where several processes open a fresh file at once, SQLite refuses this without waiting."""
    until = time.monotonic() + 60
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise UserError(f"the store cannot be written to ({error}); is the disk full? store.dir=…") from error
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that readers see the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
