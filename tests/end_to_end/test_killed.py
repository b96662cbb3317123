"""A run that is killed goes on where it stopped: nothing stored is asked again, and nobody can tell afterwards."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import in_process

QUERIES, DEPTH = 40, 20


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Queries that all share a word with more documents than are reranked."""
    words = ["the", "cat", "sat", "on", "mat", "red", "dog", "garden", "roses", "stock"]
    chance = random.Random(0)
    folder = tmp_path / "killed"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": " ".join(chance.choices(words, k=40))} for i in range(80)]
    queries = [{"_id": f"q{i}", "text": " ".join(chance.choices(words, k=4))} for i in range(QUERIES)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(QUERIES))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


def _stored(store: Path) -> int:
    try:
        with sqlite3.connect(f"file:{store / 'answers.sqlite'}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_killed_run_ends_as_an_undisturbed_one(collection: Path, chat_model: str, tmp_path: Path) -> None:
    def words(name: str) -> list[str]:
        return ["eval", "benchmark=local", f"benchmark.path={collection}", "reranker=yes_no", "model=path",
                f"model.path={chat_model}", "model.device=cpu", f"reranker.depth={DEPTH}", "tracking=none",
                f"run_dir={name}", f"store.dir={name}-store"]  # fmt: skip

    assert in_process(*words("whole"), cwd=tmp_path).returncode == 0
    total = _stored(tmp_path / "whole-store")

    with subprocess.Popen(
        [sys.executable, "-m", "rerankbench", *words("cut")], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 120
        while not _stored(tmp_path / "cut-store") and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    kept = _stored(tmp_path / "cut-store")
    assert 0 < kept < total, "killed in the middle"
    assert not (tmp_path / "cut" / "metrics.json").exists()

    again = in_process(*words("cut"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "cut" / "run.trec").read_bytes() == (tmp_path / "whole" / "run.trec").read_bytes()
    assert (tmp_path / "cut" / "metrics.json").read_bytes() == (tmp_path / "whole" / "metrics.json").read_bytes()
    whole, cut = (json.loads((tmp_path / name / "cost.json").read_text()) for name in ("whole", "cut"))
    assert cut["requests"] == whole["requests"] == QUERIES * DEPTH
    assert cut["cache_hits"] - whole["cache_hits"] == kept, "what was answered before the kill is not answered again"
    assert _stored(tmp_path / "cut-store") == total
