"""A person opens the dashboard and sees the run: its name, its figures, its files."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.summary import summarize
from rerankbench.tracking.mlflow import MLflow, ui_command
from rerankbench.tracking.run_folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QRELS = {"q1": {"a": 2, "b": 1}, "q2": {"c": 1}}
FIRST = {"q1": [("b", 2.0), ("a", 1.0)], "q2": [("y", 1.0), ("c", 0.5)]}
RERANKED = {"q1": [("a", 2.0), ("b", 1.0)], "q2": [("y", 1.0), ("c", 0.5)]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    metrics, rows = summarize(Measures(names=["ndcg@10"]), QRELS, FIRST, RERANKED, 1, 0, {})
    path = tmp_path / "runs" / "03-04-05-toy-run"
    with RunFolder(path, {"seed": 11, "reranker": {"depth": 37}}) as held, held.recording():
        held.write_run(RERANKED, tag="toy")
        held.write_per_query(rows)
        held.write_json("environment.json", {"benchmark": {"name": "toy-set", "fingerprint": "0" * 32}})
        held.write_json("cost.json", {"seconds": {"total": 1.0}})
        held.write(metrics)
    return path


@pytest.fixture
def page(folder: Path, tmp_path: Path):
    """The address of a dashboard that is up."""
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    MLflow(uri=uri, experiment="page").log(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "server.log").open("w") as log:
        # A session of its own, so that its workers can be stopped with it.
        server = subprocess.Popen(
            ui_command(uri, "127.0.0.1", port), cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(server, f"{address}/health", tmp_path / "server.log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(240):
        if server.poll() is not None:
            pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
        try:
            ask.open(address, timeout=2)
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"the server did not come up: {log.read_text()[-2000:]}")


def test_the_page_shows_the_run(page: str, folder: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("page").experiment_id
    (run,) = client.search_runs([experiment])
    value = run.data.metrics["test/ndcg_10"]
    assert 0.8 < value < 0.83  # (1 + 1/log2(3)) / 2

    shots = Path(os.environ.get("RERANKBENCH_SCREENSHOTS", tmp_path))
    expect = playwright.expect
    expect.set_options(timeout=60_000)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            tab = browser.new_page(viewport={"width": 1500, "height": 1000})
            tab.goto(f"{page}/#/experiments/{experiment}/runs")
            expect(tab.get_by_text(folder.name).first).to_be_visible()
            tab.screenshot(path=shots / "runs.png")

            tab.goto(f"{page}/#/experiments/{experiment}/runs/{run.info.run_id}")
            expect(tab.get_by_text("test/ndcg_10").first).to_be_visible()
            expect(tab.get_by_text(f"{value:.4f}"[:5]).first).to_be_visible()
            expect(tab.get_by_text("reranker.depth").first).to_be_visible()
            tab.screenshot(path=shots / "run.png")

            tab.goto(f"{page}/#/experiments/{experiment}/runs/{run.info.run_id}/artifacts")
            for name in ("config.yaml", "metrics.json", "per_query.csv", "run.trec"):
                expect(tab.get_by_text(name).first).to_be_visible()
            tab.get_by_text("metrics.json").first.click()
            expect(tab.get_by_text("first_stage").first).to_be_visible()
            tab.screenshot(path=shots / "artifacts.png")
        finally:
            browser.close()
