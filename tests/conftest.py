"""What several tests share: small benchmarks on disk, the real collections where they are, and a fresh environment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads; pytest's workers share the cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("unhurried", deadline=None)  # the first example may import something heavy
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("RERANKBENCH_DATA", ROOT.parent / "shared" / "data"))

TEXTS = {
    "d1": "the cat sat on the mat",
    "d2": "dogs chase cats in the garden",
    "d3": "a garden of roses and tulips",
    "d4": "stock markets fell sharply today",
    "d5": "the mat was red and the cat was black",
}
QUERIES = {"q1": "cat mat", "q2": "garden roses", "q3": "stock prices"}
QRELS = {"q1": {"d1": 2, "d5": 1, "d4": 0}, "q2": {"d3": 1}, "q3": {"d4": 1}}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BEIR folder with five documents and three queries."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in TEXTS.items()]
    queries = [json.dumps({"_id": key, "text": text}) for key, text in QUERIES.items()]
    rows = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{g}" for q, ds in QRELS.items() for d, g in ds.items())]
    for name, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", rows)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def rerankbench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "rerankbench", *words], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def in_process(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has loaded its packages already."""
    from rerankbench.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny causal model with a chat template."""
    from tests.models.toy_language_model import save_llama

    return save_llama(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny causal model without one."""
    from tests.models.toy_language_model import save_llama

    return save_llama(tmp_path_factory.mktemp("plain"), chat=False)


@pytest.fixture(scope="session")
def t5_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny encoder-decoder model."""
    from tests.models.toy_language_model import save_t5

    return save_t5(tmp_path_factory.mktemp("t5"))
