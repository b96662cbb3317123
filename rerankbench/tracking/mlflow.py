"""MLflow as an index of run folders: everything logged is read from the folder, so the index can be rebuilt from it."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.store import content_hash, write_atomically
from rerankbench.tracking.config_record import as_text, config_hash, flat, without_user_info
from rerankbench.tracking.history import HISTORY_FILE, offsets, read_history
from rerankbench.tracking.run_folder import read_config, read_json

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
    """Where the index is kept. uri: a tracking store or server; None is a SQLite file under `runs/`.

    log_checkpoint: upload what a training leaves in `checkpoint/`, too; else only its place is noted.
    """

    uri: str | None = None
    experiment: str = "rerankbench"
    log_checkpoint: bool = False

    def log(self, folder: Path) -> None:
        """Index a finished run folder; a folder that is there already is updated.

        Never raises an error of MLflow's: the run folder is complete without it, so a warning has to do.
        """
        uri = self.uri or DEFAULT_URI
        try:
            _calm()
            with _alone(uri):
                self._log(uri, folder)
        except Exception as error:
            reason = without_user_info((str(error).strip() or type(error).__name__).splitlines()[0])
            log.warning("not in MLflow (%s): %s; the run folder is complete", without_user_info(uri), reason)

    def _log(self, uri: str, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        config, environment = read_config(folder), read_json(folder, "environment.json")
        params = {metric_name(key): as_text(value)[:MAX_PARAM] for key, value in flat(config).items()}
        ended = int((folder / "metrics.json").stat().st_mtime * 1000)

        client = MlflowClient(tracking_uri=uri)
        run_id = self._run_id(client, _experiment(client, uri, self.experiment), folder, params, ended)
        for part in _parts([Param(key, value) for key, value in params.items()], MAX_PARAMS_A_CALL):
            client.log_batch(run_id, params=part)
        metrics = [Metric(key, value, ended, 0) for key, value in _metrics(folder)]
        metrics += [Metric(key, value, ended, step) for key, value, step in _history(folder)]
        for part in _parts(metrics, MAX_METRICS_A_CALL):
            client.log_batch(run_id, metrics=part)
        for key, value in _tags(folder, config, environment).items():
            client.set_tag(run_id, key, value)
        _log_dataset(client, run_id, environment.get("benchmark") or {})
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                client.log_artifact(run_id, str(file))
        if self.log_checkpoint and (folder / "checkpoint").is_dir():
            client.log_artifacts(run_id, str(folder / "checkpoint"), "checkpoint")
        client.set_terminated(run_id, "FINISHED", ended)

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
    _calm()
    if file := _sqlite_file(uri):
        file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def metric_name(name: str) -> str:
    """A measure's or key's name as MLflow accepts it: `ndcg@10` → `ndcg_10`."""
    return re.sub(r"[^\w.\- :/]", "_", re.sub(r"@(\d+)$", r"_\1", name))[:250]


def measure_name(name: str) -> str:
    """The measure that `metric_name` made this of: `ndcg_10` → `ndcg@10`."""
    return re.sub(r"_(\d+)$", r"@\1", name)


def _metrics(folder: Path) -> Iterator[tuple[str, float]]:
    """The same names in every run, grouped by what stands before the slash."""
    record, cost = read_json(folder, "metrics.json"), read_json(folder, "cost.json")
    groups = {"first_stage": "first_stage", "reranked": "test", "difference": "difference",
              "p_ttest": "p_ttest", "p_randomization": "p_randomization"}  # fmt: skip
    values: dict[str, Any] = {}
    for measure, row in {**record["measures"], "judged@10": record["judged@10"]}.items():
        values.update({f"{groups[key]}/{metric_name(measure)}": value for key, value in row.items() if key in groups})
    for measure, row in (record.get("untrained") or {}).items():
        values.update({f"untrained/{metric_name(measure if key == 'untrained' else f'{key}/{measure}')}": value
                       for key, value in row.items()})  # fmt: skip
    training = flat(record.get("training") or {})
    values.update({f"training/{metric_name(key.replace('.', '/'))}": value for key, value in training.items()})
    values.update({f"missing/{metric_name(key)}": value for key, value in record["missing"].items()})
    values.update({f"cost/{metric_name(key.replace('.', '/'))}": v for key, v in flat(cost).items() if key != "schema"})
    for key, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield key, float(value)


def _history(folder: Path) -> Iterator[tuple[str, float, int]]:
    """Series name, value, step over all stages, of what a training logged; a series without a family is `train/…`."""
    entries, _ = read_history(folder / HISTORY_FILE)
    starts = offsets(entries)
    for entry in entries:
        for name, value in entry.values.items():
            if math.isfinite(value):
                yield metric_name(name if "/" in name else f"train/{name}"), value, starts[entry.stage] + entry.step


def _tags(folder: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, str]:
    git = environment.get("git") or {}
    tags = {
        "rerankbench.run_folder": str(folder),
        "rerankbench.config_hash": config_hash(config),
        "rerankbench.checkpoint": str(folder / "checkpoint") if (folder / "checkpoint").is_dir() else None,
        "rerankbench.version": environment.get("rerankbench"),
        "mlflow.source.name": "rerankbench",
        "mlflow.source.git.commit": git.get("revision"),
        "rerankbench.git_dirty": git.get("dirty"),
        **{metric_name(group.replace("@", "/")): option for group, option in environment.get("choices", {}).items()},
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
    path = folder / ID_FILE
    if not path.exists():
        write_atomically(path, json.dumps({"schema": 1, "id": uuid.uuid4().hex}) + "\n")
    return str(read_json(folder, ID_FILE)["id"])


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time for a SQLite file: several that set up a fresh one at once break each other's set-up."""
    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f"{file.name}.lock"), fallback_to_soft=False):
        yield


def _calm() -> None:
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
