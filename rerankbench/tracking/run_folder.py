"""The run folder: everything about a run, in plain files; anything else (MLflow, tables) is made from it.

`metrics.json` is written last, so a folder that has it is finished. A lock keeps a second process out.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config.moved import upgraded
from rerankbench.errors import ConfigError, DataError, UserError
from rerankbench.evaluation.measures import strictly_decreasing
from rerankbench.evaluation.records import Metrics, QueryValues
from rerankbench.store import write_atomically
from rerankbench.tracking.config_record import differing_keys
from rerankbench.types import Run

if TYPE_CHECKING:
    from filelock import FileLock

SCHEMA = 1
log = logging.getLogger("rerankbench")

FILES = ("metrics.json", "config.yaml", "run.trec", "per_query.csv", "cost.json", "environment.json", "log.txt",
         "profile.txt", "answers.jsonl", "history.jsonl", "curves.png", "teacher.jsonl")  # fmt: skip
"""What a run folder may hold of a run, the mark of being finished first."""

FOLDERS = ("checkpoint", "stages", "analysis")
"""And its folders: the trained network, the progress of each stage, the results of analyses."""


class Record(Protocol):
    """What one JSON file of a run folder holds, with the version of its shape."""

    FILE: ClassVar[str]
    SCHEMA: ClassVar[int]

    def to_json(self) -> dict[str, Any]:
        """JSON values by name."""
        ...


class RunFolder:
    """A run folder that no other process can enter: `with RunFolder(path, config, force) as folder: …`.

    config: the resolved configuration (`config_record.resolved`). force: start anew in a folder that holds a run,
    whatever its configuration. `finished` says whether there is anything left to do; what a run writes, it writes
    inside `with folder.recording(): …`. Raises ConfigError when the folder is in use, holds a run with another
    configuration, or holds files that are no run.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], force: bool = False) -> None:
        self.path = path
        self.config = dict(config)
        self.force = force
        self.finished = False
        self._new = False
        self._lock: FileLock | None = None

    def __enter__(self) -> RunFolder:
        _refuse_foreign(self.path)
        self._new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path)
        except OSError as error:
            raise ConfigError("run_dir", f"cannot write to {self.path}: {error.strerror}") from error
        try:
            if not self.force and (self.path / "config.yaml").exists():
                self.finished = is_finished(self.path)
                self._require_same_configuration()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._new and [entry.name for entry in self.path.iterdir()] == [".lock"]:  # stopped before `recording`
            with suppress(OSError):
                (self.path / ".lock").unlink()
                self.path.rmdir()
        self._unlock()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While the block runs, log lines go to `log.txt`, too; before it, the configuration is written.

        With `force`, what the folder held of another run is removed first.
        """
        if self.force:
            (self.path / FILES[0]).unlink(missing_ok=True)  # from then on the folder is unfinished
            for name in FOLDERS:
                _remove(self.path / name)
            for name in FILES[1:]:
                (self.path / name).unlink(missing_ok=True)
        comment = f"# The configuration of this run, resolved (rerankbench config, schema {SCHEMA})\n"
        write_atomically(self.path / "config.yaml", comment + OmegaConf.to_yaml(OmegaConf.create(self.config)))
        handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        try:
            yield
        except BaseException as error:
            # Only for the file: the command line has its own words for what a person should see.
            message = f"stopped: {error}" if isinstance(error, UserError) else "stopped"
            shown = None if isinstance(error, UserError) else (type(error), error, error.__traceback__)
            handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk
            handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, message, (), shown))
            raise
        finally:
            log.removeHandler(handler)
            with suppress(OSError):
                handler.close()

    def write(self, record: Record) -> None:
        """Write a typed record to its file."""
        self.write_json(record.FILE, {"schema": record.SCHEMA, **record.to_json()})

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a record as JSON, with its schema. Raises ValueError for nan and infinity."""
        text = json.dumps({"schema": SCHEMA, **data}, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text + "\n")

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        write_atomically(self.path / name, text.getvalue())

    def write_run(self, run: Run, tag: str) -> None:
        """Write `run.trec`: query, Q0, document, rank from 1, score, tag; scores strictly decrease.

        White space in an id becomes percent-encoded: the format's columns are separated by it.
        """
        import numpy as np

        lines = []
        for query, ranking in run.items():
            scores = strictly_decreasing([score for _, score in ranking])
            for rank, ((document, _), score) in enumerate(zip(ranking, scores, strict=True), 1):
                lines.append(f"{_word(query)} Q0 {_word(document)} {rank} {np.float32(score)!s} {_word(tag)}\n")
        write_atomically(self.path / "run.trec", "".join(lines))

    def write_per_query(self, values: Sequence[QueryValues]) -> None:
        """Write `per_query.csv`: one row a query and measure."""
        columns = [field.name for field in fields(QueryValues)]
        self.write_table("per_query.csv", columns, map(astuple, values))

    def _require_same_configuration(self) -> None:
        """Of an unfinished run the analyses may be others: they change nothing that it has done so far."""
        keys = differing_keys(read_config(self.path), self.config)
        if not self.finished:
            keys = [key for key in keys if key.split(".")[0] != "analysis"]
        if keys:
            shown = ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
            problem = f"{self.path} holds a run with another {shown}; choose another folder, or force=true"
            raise ConfigError("run_dir", problem)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def default_run_dir(root: Path, name: str, now: datetime) -> Path:
    """`root/<date>/<time>-<name>`, with a number after it where that exists already."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80] or "run"
    first = root / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}-{safe}"
    path, number = first, 2
    while path.exists():
        path, number = first.with_name(f"{first.name}-{number}"), number + 1
    return path


def read_json(folder: Path, name: str, known: int = SCHEMA) -> dict[str, Any]:
    """A JSON record of a run folder, of schema `known` or older.

    Raises DataError when it is absent, broken, or of a newer rerankbench.
    """
    path = folder / name
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(path, f"is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise DataError(path, "is no record (a JSON object was expected)")
    schema = data.get("schema", 1)
    if not isinstance(schema, int) or schema > known:
        raise DataError(path, f"written by a newer rerankbench (schema {schema} > {known}); upgrade")
    return data


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run folder as it is written there, unresolved. Raises DataError when there is none."""
    import yaml

    file = path / "config.yaml"
    try:
        config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise DataError(file, f"is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict):
        raise DataError(file, "is no configuration")
    return upgraded({str(key): value for key, value in config.items()}, file)


def is_finished(path: Path) -> bool:
    """Whether a run in this folder went to its end. Raises DataError for a record of a newer rerankbench."""
    if not (path / Metrics.FILE).exists():
        return False
    try:
        return "measures" in read_json(path, Metrics.FILE, Metrics.SCHEMA)
    except DataError as error:
        if "newer" in str(error):
            raise
        log.warning("%s; running again", error)
        return False


def _refuse_foreign(path: Path) -> None:
    """A folder with files but without a configuration is somebody's, not a run's."""
    if path.exists() and not path.is_dir():
        raise ConfigError("run_dir", f"{path} is a file, not a folder")
    if not path.is_dir() or (path / "config.yaml").exists():
        return
    foreign = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name not in (FOLDERS if entry.is_dir() else FILES) and not entry.name.startswith(".")
    )
    if foreign:
        raise ConfigError("run_dir", f"{path} is no run folder: it holds {foreign[0]!r}; choose an empty or new one")


def _remove(folder: Path) -> None:
    """Delete a folder if it is there; of a link only the link."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _lock(path: Path) -> FileLock:
    """An exclusive lock, which ends with the process however that ends."""
    from filelock import FileLock, Timeout

    (path / ".lock").touch()
    lock = FileLock(path / ".lock", timeout=0, fallback_to_soft=False)  # a soft lock would outlive a killed process
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError("run_dir", f"{path} is in use by another process") from None
    except OSError as error:  # some network file systems have no locks
        log.warning("%s: cannot be locked (%s); let no other process write there", path, error.strerror)
    return lock


def _word(text: str) -> str:
    return "".join(f"%{ord(c):02X}" if c.isspace() else c for c in text) or "-"
