"""MLflow: an index of run folders. Everything logged is read from the folder, so it can be rebuilt at any time."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.store import content_hash
from rerankbench.tracking.config_record import config_hash, flat
from rerankbench.tracking.run_folder import FILES, read_config, read_json

log = logging.getLogger("rerankbench")

DEFAULT_URI = "sqlite:///runs/mlflow.db"
MAX_PARAM = 6000  # MLflow's own bound
FOLDER_TAG = "rerankbench.run_folder"


def metric_name(measure: str) -> str:
    """`ndcg@10` -> `ndcg_10`: MLflow forbids @ in names. `measure_name` is the way back."""
    return re.sub(r"@(\d+)$", r"_\1", measure)


def measure_name(metric: str) -> str:
    """`ndcg_10` -> `ndcg@10`."""
    return re.sub(r"_(\d+)$", r"@\1", metric)


@dataclass(frozen=True, kw_only=True)
class MLflow:
    """A tracking store (uri: null is a SQLite file under runs/) and the experiment in it."""

    uri: str | None = None
    experiment: str = "rerankbench"

    def log(self, folder: Path) -> None:
        """Index a finished run folder; again, its entry is renewed. A failure is a warning: the folder is the truth."""
        _quiet()
        try:
            self._log(folder)
        except Exception as error:  # a tracking server's trouble must not cost a finished run
            first = (str(error).splitlines() or [""])[0]
            log.warning(
                "MLflow at %s failed (%s: %s); the run folder is complete", self._uri, type(error).__name__, first
            )

    @property
    def _uri(self) -> str:
        return re.sub(r"(?<=://)[^/@\s]+@", "", self.uri or DEFAULT_URI)

    def _log(self, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        uri = self.uri or DEFAULT_URI
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment:
            identifier = experiment.experiment_id
        else:
            artifacts = folder.parent if uri != DEFAULT_URI else Path("runs")
            location = (artifacts / "mlartifacts").resolve().as_uri() if uri.startswith("sqlite:") else None
            identifier = client.create_experiment(self.experiment, artifact_location=location)
        config = read_config(folder) or {}
        place = str(folder.resolve())
        for old in client.search_runs([identifier], f"tags.`{FOLDER_TAG}` = '{place}'"):
            client.delete_run(old.info.run_id)
        tags = {
            FOLDER_TAG: place,
            "rerankbench.config_hash": config_hash(config),
            "mlflow.source.name": "rerankbench",
            **_tags(folder),
        }
        run = client.create_run(identifier, run_name=str(config.get("name") or folder.name), tags=tags)
        run_id = run.info.run_id
        params = [Param(key, str(value)[:MAX_PARAM]) for key, value in flat(config).items()]
        for start in range(0, len(params), 100):
            client.log_batch(run_id, params=params[start : start + 100])
        metrics = [Metric(name, value, 0, 0) for name, value in _metrics(folder)]
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000], tags=[RunTag("schema", "1")])
        self._log_dataset(client, run_id, folder)
        for name in (*FILES, "log.txt"):
            if (folder / name).is_file():
                client.log_artifact(run_id, str(folder / name))
        client.log_table(run_id, _table(folder), "per_query.json")
        client.set_terminated(run_id, "FINISHED")

    def _log_dataset(self, client: Any, run_id: str, folder: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        benchmark = read_json(folder, "environment.json").get("benchmark", {})
        dataset = Dataset(
            name=str(benchmark.get("name", "benchmark"))[:500],
            digest=str(benchmark.get("fingerprint") or content_hash(benchmark))[:32],
            source_type="rerankbench",
            source=str(benchmark.get("description", ""))[:6000],
        )
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "eval")])])


def ui_command(uri: str | None, host: str, port: int) -> list[str]:
    """The command that serves MLflow's dashboard on the store."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri or DEFAULT_URI]
    return [*command, "--host", host, "--port", str(port)]


def _tags(folder: Path) -> dict[str, str]:
    environment = read_json(folder, "environment.json")
    git = environment.get("git") or {}
    tags = {"mlflow.source.git.commit": git.get("revision"), "version": environment["packages"].get("rerankbench")}
    chosen = {f"option.{group.replace('@', '.')}": option for group, option in environment.get("choices", {}).items()}
    return {key: str(value) for key, value in {**tags, **chosen}.items() if value}


def _metrics(folder: Path) -> Iterator[tuple[str, float]]:
    """Names are the same in every run, or comparing runs in the dashboard falls apart."""
    record = read_json(folder, "metrics.json")
    for measure, values in record["measures"].items():
        name = metric_name(measure)
        yield f"first_stage/{name}", values["first_stage"]
        yield f"test/{name}", values["reranked"]
        yield f"difference/{name}", values["difference"]
        yield f"p_randomization/{name}", values["p_randomization"]
    yield "first_stage/judged_10", record["judged@10"]["first_stage"]
    yield "test/judged_10", record["judged@10"]["reranked"]
    for name, count in record["missing"].items():
        yield f"missing/{name}", float(count)
    for key, value in flat(read_json(folder, "cost.json")).items():
        if isinstance(value, int | float) and key != "schema":
            yield f"cost/{key.replace('.', '/')}", float(value)


def _table(folder: Path) -> Mapping[str, list[str | float]]:
    lines = (folder / "per_query.csv").read_text(encoding="utf-8").splitlines()
    import csv

    rows = list(csv.DictReader(lines))
    text = ("query", "measure")
    return {key: [row[key] if key in text else float(row[key]) for row in rows] for key in rows[0]} if rows else {}


def _quiet() -> None:
    """MLflow and its migrations talk a lot, and wait long for a dead server; both are cut short here."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
