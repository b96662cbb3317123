"""The index says what the folder says, is the same after being made twice, and never costs a run."""

import json
import logging
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.tracking.mlflow import MLflow, metric_name, ui_command
from rerankbench.tracking.records import AnalysisResult, Estimate
from rerankbench.tracking.run_folder import RunFolder, read_json
from tests.tracking.toy_run import CONFIG, TRAINING, UNTRAINED, fill, fill_training


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> MLflow:
    """A store whose database is set up already: MLflow takes seconds for that."""
    folder = tmp_path_factory.mktemp("store")
    template = tmp_path_factory.getbasetemp() / "template.db"
    if not template.exists():
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{template}").search_experiments()
    shutil.copy(template, folder / "mlflow.db")
    return MLflow(uri=f"sqlite:///{folder}/mlflow.db", experiment="tests")


def runs(store: MLflow):
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


def test_the_index_says_what_the_folder_says(store, finished):
    store.log(finished)
    client, (run,) = runs(store)
    metrics, cost = read_json(finished, "metrics.json"), read_json(finished, "cost.json")
    assert run.info.run_name == finished.name and run.info.status == "FINISHED"
    for measure, row in metrics["measures"].items():
        assert run.data.metrics[f"test/{metric_name(measure)}"] == row["reranked"]
        assert run.data.metrics[f"first_stage/{metric_name(measure)}"] == row["first_stage"]
        assert run.data.metrics[f"difference/{metric_name(measure)}"] == row["difference"]
    assert run.data.metrics["cost/seconds/rerank"] == cost["seconds"]["rerank"]
    assert run.data.metrics["cost/prompt_tokens"] == cost["prompt_tokens"]
    assert "cost/peak_cuda_memory_mb" not in run.data.metrics
    assert run.data.params["reranker.depth"] == "20"
    assert run.data.params["benchmark.fields"] == '["title", "text"]'
    assert run.data.tags["rerankbench.run_folder"] == str(finished)
    assert {"rerankbench.config_hash", "rerankbench.version", "retriever"} <= run.data.tags.keys()
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("toy-set", "f" * 32)
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "eval")]
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert artifacts == {file.name for file in finished.iterdir() if not file.name.startswith(".")}
    assert {"run.trec", "per_query.csv", "config.yaml", "log.txt"} <= artifacts


def test_twice_is_once(store, finished):
    store.log(finished)
    _, (first,) = runs(store)
    moved = finished.rename(finished.with_name("elsewhere"))
    store.log(moved)
    client, (second,) = runs(store)
    assert second.info.run_id == first.info.run_id
    assert second.data.metrics == first.data.metrics
    assert second.data.tags["rerankbench.run_folder"] == str(moved)
    assert len(client.get_metric_history(second.info.run_id, "test/ndcg_10")) == 1


def test_what_is_logged_already_is_left_alone_and_loads_no_mlflow(store, finished):
    store.log(finished)
    code = (
        "import sys; from pathlib import Path; from rerankbench.tracking.mlflow import MLflow; "
        "MLflow(uri=sys.argv[1], experiment='tests').log(Path(sys.argv[2])); print('mlflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, store.uri, str(finished)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    replace(store, experiment="other").log(finished)
    assert len(runs(replace(store, experiment="other"))[1]) == 1, "another experiment is another place"


def test_a_database_that_is_gone_is_filled_again(finished, tmp_path):
    store = MLflow(uri=f"sqlite:///{tmp_path}/gone/mlflow.db")
    for _ in range(2):
        store.log(finished)
        assert len(runs(store)[1]) == 1
        shutil.rmtree(tmp_path / "gone")


def test_what_analyses_found_is_logged(store, finished):
    result = AnalysisResult(figures={"wins": 3, "gain @10": Estimate(0.5, (0.25, 0.75))}, columns=["a"], rows=[[1]])
    with RunFolder(finished, {**CONFIG, "analysis": {"mine": {}}}, force=True) as folder, folder.recording():
        fill(folder)
        folder.write_json("analysis/mine.json", result.to_json(finished))
        folder.write_table("analysis/mine.csv", result.columns, result.rows)
    store.log(finished)
    client, (run,) = runs(store)
    assert run.data.metrics["analysis/mine/wins"] == 3 and run.data.metrics["analysis/mine/gain _10"] == 0.5
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id, "analysis")}
    assert artifacts == {"analysis/mine.json", "analysis/mine.csv"}


def test_a_folder_used_anew_replaces_its_entry(store, finished):
    store.log(finished)
    with RunFolder(finished, {**CONFIG, "seed": 5}, force=True) as folder, folder.recording():
        fill(folder)
    store.log(finished)
    _, (run,) = runs(store)
    assert run.data.params["seed"] == "5"


def test_a_trainings_history_is_logged_with_steps_over_all_stages(store, trained):
    for _ in range(2):  # the second time nothing comes twice
        store.log(trained)
    client, (run,) = runs(store)

    def logged(name):
        return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]

    assert sorted(logged("train/loss")) == [(10, 1 / 10), (20, 1 / 20), (30, 1 / 10), (40, 1 / 20), (50, 1 / 30)]
    assert sorted(logged("dev/ndcg_10")) == [(0, 0.4), (20, 0.4)]
    assert sorted(logged("weights/mean")) == [(step, 1.0) for step in (10, 20, 30, 40, 50)]
    metrics = run.data.metrics
    assert metrics["untrained/ndcg_10"] == UNTRAINED["untrained"]
    assert metrics["untrained/difference/ndcg_10"] == UNTRAINED["difference"]
    assert metrics["untrained/p_randomization/p_1"] == UNTRAINED["p_randomization"]
    assert metrics["training/steps"] == TRAINING["steps"] and metrics["training/best_dev"] == TRAINING["best_dev"]
    assert metrics["training/counts/groups_with_too_few_negatives"] == 3
    assert run.data.tags["rerankbench.checkpoint"] == str(trained / "checkpoint")
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"curves.png", "history.jsonl"} <= artifacts and "checkpoint" not in artifacts


def test_an_evaluation_has_no_checkpoint_to_name(store, finished):
    store.log(finished)
    _, (run,) = runs(store)
    assert "rerankbench.checkpoint" not in run.data.tags
    assert not [name for name in run.data.metrics if name.startswith(("untrained/", "training/", "train/"))]


def test_the_checkpoint_is_uploaded_where_that_is_wanted(store, trained):
    replace(store, log_checkpoint=True).log(trained)
    client, (run,) = runs(store)
    assert {item.path for item in client.list_artifacts(run.info.run_id, "checkpoint")} == {
        "checkpoint/config.json", "checkpoint/1_Pooling",
    }  # fmt: skip


def test_a_training_run_anew_leaves_no_steps_of_the_old_one(store, trained):
    store.log(trained)
    with RunFolder(trained, CONFIG, force=True) as folder, folder.recording():
        fill_training(folder)
        (trained / "history.jsonl").write_text('{"schema": 1, "stage": 0, "step": 5, "loss": 2.0}\n')
    store.log(trained)
    client, (run,) = runs(store)
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")] == [(5, 2.0)]


def test_a_killed_line_does_not_keep_a_run_out(store, trained, caplog):
    with (trained / "history.jsonl").open("a") as file:
        file.write('{"schema": 1, "sta')
    store.log(trained)
    assert len(runs(store)[1]) == 1
    assert (trained / "history.jsonl").read_text().endswith('"sta')  # an index only reads


def test_what_mlflow_would_refuse(store, tmp_path):
    config = {
        **CONFIG,
        "long": "x" * 10_000,
        "empty": "",
        "nothing": None,
        "odd (key) = @": 1,
        "many": {f"key{i}": i for i in range(230)},
    }
    with RunFolder(tmp_path / "run", config) as folder, folder.recording():
        fill(folder)
    store.log(tmp_path / "run")
    _, (run,) = runs(store)
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["many.key229"] == "229"
    assert run.data.params["nothing"] == "null"


def test_a_dead_server_costs_seconds_and_one_line(finished, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("rerankbench"), "propagate", True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="rerankbench"):
        MLflow(uri=f"http://me:hunter2@127.0.0.1:{port}").log(finished)
    assert time.monotonic() - began < 60
    (record,) = [record for record in caplog.records if record.name == "rerankbench"]
    assert "run folder is complete" in record.message and "\n" not in record.message
    assert "hunter2" not in caplog.text


def test_silent_from_a_fresh_database_on(finished, tmp_path):
    """A new process, no database yet, two at once: no chatter, no failure, both indexed."""
    code = (
        "import sys; from pathlib import Path; from rerankbench.tracking.mlflow import MLflow; "
        "MLflow(uri=sys.argv[1]).log(Path(sys.argv[2]))"
    )
    other = tmp_path / "other"
    with RunFolder(other, CONFIG) as folder, folder.recording():
        fill(folder)
    uri = f"sqlite:///{tmp_path}/fresh/mlflow.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, uri, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )
        for folder in (finished, other)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["", ""]
    assert len(runs(MLflow(uri=uri))[1]) == 2
    assert not (tmp_path / "mlruns").exists()


def test_no_tracking_loads_no_mlflow(finished):
    code = (
        "import sys; from pathlib import Path; from rerankbench.tracking.none import NoTracking; "
        "import rerankbench.tracking.mlflow, rerankbench.tracking.run_folder, rerankbench.tracking.table; "
        "NoTracking().log(Path(sys.argv[1])); print({'mlflow', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(finished)], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@given(st.from_regex(r"[a-z][a-z_]*[a-z](@[1-9][0-9]{0,3})?", fullmatch=True))
def test_measure_names_are_accepted(name):
    assert "@" not in metric_name(name) and metric_name(name).startswith(name.partition("@")[0])


def test_the_page_is_served_for_files_only(tmp_path):
    command = ui_command(f"sqlite:///{tmp_path}/new/mlflow.db", "127.0.0.1", 5000)
    assert command[0] == sys.executable and Path(tmp_path / "new").is_dir()
    with pytest.raises(ConfigError, match="https://host is a server") as caught:
        ui_command("https://me:hunter2@host", "127.0.0.1", 5000)
    assert "hunter2" not in str(caught.value)


def test_identity_is_a_record(store, finished):
    store.log(finished)
    assert json.loads((finished / ".mlflow.json").read_text())["schema"] == 1
