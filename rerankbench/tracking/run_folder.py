"""The run folder: the truth about a run. Everything else, MLflow included, can be rebuilt from it."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import logging
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from rerankbench.errors import ConfigError, DataError, UserError
from rerankbench.store import write_atomically
from rerankbench.tracking.config_record import UNHASHED, config_hash, flat
from rerankbench.types import Run

SCHEMA = 1
FILES = ("metrics.json", "run.trec", "per_query.csv", "cost.json", "environment.json", "profile.txt", "config.yaml")

log = logging.getLogger("rerankbench")


def default_run_dir(root: Path, name: str, now: datetime) -> Path:
    """runs/<date>/<time>-<name>, with a number behind it if that exists."""
    base = root / now.strftime("%Y-%m-%d") / f"{now.strftime('%H%M%S')}-{name}"
    found, number = base, 2
    while found.exists():
        found, number = base.with_name(f"{base.name}-{number}"), number + 1
    return found


class RunFolder:
    """A locked run folder; use it in a `with` block. `metrics.json` is written last: its presence means finished."""

    def __init__(self, path: Path, config: dict[str, Any], force: bool = False) -> None:
        """Raises ConfigError if a live process uses the folder, or if it holds something else."""
        self.path = path
        self.config = config
        occupied = path.exists() and any(path.iterdir()) if not path.is_file() else True
        if occupied and not (path / "config.yaml").is_file() and not (path / ".lock").is_file():
            raise ConfigError("run_dir", f"{path} exists and is no run folder")
        path.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ConfigError("run_dir", f"{path} is in use by a running process") from None
        try:
            self._adopt(force)
        except BaseException:
            self._lock.close()
            raise

    def _adopt(self, force: bool) -> None:
        if force:
            for name in FILES:
                (self.path / name).unlink(missing_ok=True)
        there = read_config(self.path)
        if there is not None and config_hash(there) != config_hash(self.config):
            mine, old = flat(self.config), flat(there)
            keys = [k for k in sorted({*mine, *old}) if mine.get(k) != old.get(k) and k.split(".")[0] not in UNHASHED]
            shown = ", ".join(f"{k} ({old.get(k)!r} there)" for k in keys[:4]) + (" …" if len(keys) > 4 else "")
            raise ConfigError(
                "run_dir", f"{self.path} holds another run; it differs in {shown}; force=true replaces it"
            )
        self.finished = there is not None and (self.path / "metrics.json").is_file()
        if not self.finished:
            header = f"# The configuration of this run, fully resolved. schema: {SCHEMA}\n"
            text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True, width=120)
            write_atomically(self.path / "config.yaml", header + text)

    def __enter__(self) -> RunFolder:
        self._handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UserError):
            self._note(f"stopped: {error}")
        elif error is not None:
            self._note("stopped:\n" + "".join(traceback.format_exception(kind, error, trace)))
        log.removeHandler(self._handler)
        self._handler.close()
        self._lock.close()

    def _note(self, text: str) -> None:
        """Into log.txt alone: the command line says it in its own words."""
        self._handler.emit(log.makeRecord(log.name, logging.ERROR, "", 0, text, (), None))

    def write_json(self, name: str, record: Mapping[str, Any]) -> None:
        """A JSON record with its schema. Raises ValueError for NaN and infinities, which JSON does not have."""
        text = json.dumps({"schema": SCHEMA, **record}, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text + "\n")

    def write_run(self, run: Run, tag: str) -> None:
        """run.trec: query, Q0, document, rank from 1, score, tag.

        Scores are written as strictly decreasing float32 numbers, tied ones a hair apart, so that trec_eval, which
        reads float32 and breaks ties by document id, sees the order that was measured.
        """
        lines = []
        for query, ranking in run.items():
            scores = strictly_decreasing([score for _, score in ranking])
            for rank, ((document, _), score) in enumerate(zip(ranking, scores, strict=True), 1):
                lines.append(f"{_word(query)} Q0 {_word(document)} {rank} {score} {_word(tag)}\n")
        write_atomically(self.path / "run.trec", "".join(lines))

    def write_per_query(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """per_query.csv: one row for each query and measure."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path / "per_query.csv", buffer.getvalue())


def strictly_decreasing(scores: Sequence[float]) -> list[str]:
    """The scores as shortest float32 texts, each below the one before. Raises ValueError for NaN, infinity or disorder."""
    import numpy as np

    texts: list[str] = []
    last = np.float32(np.inf)
    previous = float("inf")
    for score in scores:
        if not np.isfinite(score) or score > previous:
            raise ValueError(f"scores must be finite and never increase, got {score} after {previous}")
        previous = score
        value = np.float32(np.clip(score, -3e38, 3e38))
        if not value < last:
            value = np.nextafter(last, np.float32(-np.inf))
        last = value
        texts.append(str(value))
    return texts


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A record of a run folder. Raises DataError if it is missing, broken, or of a newer schema."""
    path = folder / name
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "no such record; is this the folder of a finished run?") from None
    except ValueError as error:
        raise DataError(path, f"is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("schema", 1) > SCHEMA:
        raise DataError(path, f"written by a newer rerankbench (schema > {SCHEMA}); upgrade")
    return data


def read_config(folder: Path) -> dict[str, Any] | None:
    """The recorded configuration; None if there is none. Raises DataError if it cannot be read."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(path, f"is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise DataError(path, "holds no configuration")
    return found


def _word(text: str) -> str:
    """TREC columns are separated by white space, so an id may hold none: it is percent-encoded where it does."""
    return "".join(f"%{ord(c):02X}" if c.isspace() else c for c in text) or "-"
