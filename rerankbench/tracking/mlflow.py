"""MLflow as an index of run folders: everything logged is read from the folder, so the index can be rebuilt from it."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.evaluation.records import Metrics
from rerankbench.store import content_hash, write_atomically
from rerankbench.tracking.config_record import as_text, config_hash, flat, without_user_info
from rerankbench.tracking.history import HISTORY_FILE, Entry, offsets
from rerankbench.tracking.records import ANALYSES, Estimate, RunRecord
from rerankbench.tracking.run_folder import read_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger("rerankbench")

DEFAULT_URI = "sqlite:///runs/mlflow.db"
MAX_PARAM, MAX_PARAMS_A_CALL, MAX_METRICS_A_CALL, MAX_DIGEST = 6_000, 100, 1_000, 32  # MLflow refuses more
ID_TAG = "rerankbench.id"
HISTORY_TAG = "rerankbench.history"
ID_FILE = ".mlflow.json"


@dataclass(frozen=True, kw_only=True)
class MLflow:
    """The index. uri: a tracking store or server; None is a SQLite file under `runs/`.

    log_checkpoint: also upload the `checkpoint/` of a training; without it only its path is recorded.
    """

    uri: str | None = None
    experiment: str = "rerankbench"
    log_checkpoint: bool = False

    def log(self, folder: Path) -> None:
        """Index a finished run folder; one that is there already is updated, one that did not change is left alone.

        Never raises an error of MLflow's: the run folder is complete without it, so a warning has to do.
        """
        uri = self.uri or DEFAULT_URI
        try:
            if _read_mark(folder).get("logged") == self._state(uri, folder):
                return
            _quiet()
            with _locked(uri):
                self._log(uri, folder)
            _write_mark(folder, {**_read_mark(folder), "logged": self._state(uri, folder)})
        except Exception as error:
            reason = without_user_info((str(error).strip() or type(error).__name__).splitlines()[0])
            log.warning("not in MLflow (%s): %s; the run folder is complete", without_user_info(uri), reason)

    def _log(self, uri: str, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        record = RunRecord.read(folder)
        params = {metric_name(key): as_text(value)[:MAX_PARAM] for key, value in flat(record.config).items()}
        ended = int((folder / "metrics.json").stat().st_mtime * 1000)

        client = MlflowClient(tracking_uri=uri)
        run_id = self._run_id(client, _experiment(client, uri, self.experiment), folder, params, ended)
        for part in _parts([Param(key, value) for key, value in params.items()], MAX_PARAMS_A_CALL):
            client.log_batch(run_id, params=part)
        metrics = [Metric(key, value, ended, 0) for key, value in _metrics(record)]
        metrics += [Metric(key, value, ended, step) for key, value, step in _history(record.history)]
        for part in _parts(metrics, MAX_METRICS_A_CALL):
            client.log_batch(run_id, metrics=part)
        for key, value in _tags(record).items():
            client.set_tag(run_id, key, value)
        _log_dataset(client, run_id, record.environment.benchmark)
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                client.log_artifact(run_id, str(file))
        for name in (ANALYSES, *(["checkpoint"] if self.log_checkpoint else [])):
            if (folder / name).is_dir():
                client.log_artifacts(run_id, str(folder / name), name)
        client.set_terminated(run_id, "FINISHED", ended)

    def _state(self, uri: str, folder: Path) -> str:
        """What is different when the folder has to be logged again: which store, which folder, when it was finished."""
        file = _sqlite_file(uri)
        place = uri if file is None else [str(file.resolve()), file.stat().st_ino if file.exists() else uuid.uuid4()]
        finished = (folder / Metrics.FILE).stat().st_mtime_ns
        return content_hash(place, self.experiment, self.log_checkpoint, str(folder.resolve()), finished)

    def _run_id(
        self, client: MlflowClient, experiment: str, folder: Path, params: Mapping[str, str], ended: int
    ) -> str:
        """The MLflow run of this folder, made if it is new.

        MLflow never changes a param, nor forgets a step; where either differs (the folder was used anew with `force`)
        a new run takes over.
        """
        tags = {ID_TAG: (identity := _identity(folder))}
        if (folder / HISTORY_FILE).exists():
            tags[HISTORY_TAG] = content_hash((folder / HISTORY_FILE).read_text(encoding="utf-8", errors="replace"))
        found: list[Run] = list(client.search_runs([experiment], f"tags.`{ID_TAG}` = '{identity}'"))
        for run in found:
            if run.data.params == params and run.data.tags.get(HISTORY_TAG) == tags.get(HISTORY_TAG):
                return str(run.info.run_id)
            client.delete_run(run.info.run_id)
        began = min(ended, int((folder / "config.yaml").stat().st_mtime * 1000))
        return str(client.create_run(experiment, began, tags, run_name=folder.name).info.run_id)


def ui_command(uri: str | None, host: str, port: int) -> list[str]:
    """The command that serves MLflow's page on the store; run it with this process's environment.

    Raises ConfigError when the store is a server, which has its own page.
    """
    uri = uri or DEFAULT_URI
    if uri.startswith(("http://", "https://")):
        raise ConfigError("tracking.uri", f"{without_user_info(uri)} is a server: open it in a browser")
    _quiet()
    if file := _sqlite_file(uri):
        file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def metric_name(name: str) -> str:
    """A measure's or key's name as MLflow accepts it: `ndcg@10` → `ndcg_10`."""
    return re.sub(r"[^\w.\- :/]", "_", re.sub(r"@(\d+)$", r"_\1", name))[:250]


def _metrics(record: RunRecord) -> Iterator[tuple[str, float]]:
    """The same names in every run, grouped by what stands before the slash."""
    metrics, values = record.metrics, dict[str, Any]()
    for measure, row in metrics.measures.items():
        name = metric_name(measure)
        values |= {f"first_stage/{name}": row.before, f"test/{name}": row.after, f"difference/{name}": row.difference}
        values |= {f"p_ttest/{name}": row.p_ttest, f"p_randomization/{name}": row.p_randomization}
    values |= {"first_stage/judged_10": metrics.judged.first_stage, "test/judged_10": metrics.judged.reranked}
    for measure, row in (metrics.untrained or {}).items():
        name = metric_name(measure)
        values |= {f"untrained/{name}": row.before, f"untrained/difference/{name}": row.difference}
        values |= {f"untrained/{test}/{name}": getattr(row, test) for test in ("p_ttest", "p_randomization")}
    training = metrics.training.to_json() if metrics.training else {}
    for family, figures in (("training", training), ("missing", metrics.missing), ("cost", record.cost.to_json())):
        values |= {f"{family}/{metric_name(key.replace('.', '/'))}": value for key, value in flat(figures).items()}
    for name, result in record.analyses.items():
        for figure, value in result.figures.items():
            key = metric_name(f"{ANALYSES}/{name}/{figure}")
            values[key] = value.value if isinstance(value, Estimate) else value
    for key, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield key, float(value)


def _history(entries: Sequence[Entry]) -> Iterator[tuple[str, float, int]]:
    """Series name, value, step over all stages, of what a training logged; a series without a family is `train/…`."""
    starts = offsets(entries)
    for entry in entries:
        for name, value in entry.values.items():
            if math.isfinite(value):
                yield metric_name(name if "/" in name else f"train/{name}"), value, starts[entry.stage] + entry.step


def _tags(record: RunRecord) -> dict[str, str]:
    folder, environment = record.folder, record.environment
    git = environment.git or {}
    tags = {
        "rerankbench.run_folder": str(folder),
        "rerankbench.config_hash": config_hash(record.config),
        "rerankbench.checkpoint": str(folder / "checkpoint") if (folder / "checkpoint").is_dir() else None,
        "rerankbench.version": environment.rerankbench or None,
        "mlflow.source.name": "rerankbench",
        "mlflow.source.git.commit": git.get("revision"),
        "rerankbench.git_dirty": git.get("dirty"),
        **{metric_name(group.replace("@", "/")): option for group, option in environment.choices.items()},
    }
    return {key: as_text(value) for key, value in tags.items() if value is not None}


def _log_dataset(client: MlflowClient, run_id: str, benchmark: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=str(benchmark.get("name") or "benchmark")[:500],
        digest=str(benchmark.get("fingerprint") or content_hash(benchmark))[:MAX_DIGEST],
        source_type="rerankbench",
        source=json.dumps(benchmark.get("description") or {}, ensure_ascii=False, sort_keys=True),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "eval")])])


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment's id; it is made if it is new, its artifacts beside the database where that is a file."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    file = _sqlite_file(uri)
    location = (file.parent / "mlartifacts").resolve().as_uri() if file else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # another process was first
            return str(found.experiment_id)
        raise


def _identity(folder: Path) -> str:
    """What the folder is called in every index, wherever it is moved."""
    mark = _read_mark(folder)
    if "id" not in mark:
        _write_mark(folder, mark := {"schema": 1, "id": uuid.uuid4().hex})
    return str(mark["id"])


def _read_mark(folder: Path) -> dict[str, Any]:
    """`id`: see `_identity`. logged: what `MLflow._state` was when the folder was last logged."""
    return read_json(folder, ID_FILE) if (folder / ID_FILE).exists() else {}


def _write_mark(folder: Path, mark: Mapping[str, Any]) -> None:
    write_atomically(folder / ID_FILE, json.dumps(mark) + "\n")


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def _locked(uri: str) -> Iterator[None]:
    """One process at a time for a SQLite file: several that set up a fresh one at once break each other's set-up."""
    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f"{file.name}.lock"), fallback_to_soft=False):
        yield


def _quiet() -> None:
    """Short waits for a dead server, no telemetry, no chatter; what the user has set stays."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
