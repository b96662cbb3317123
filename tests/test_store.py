"""The store: work is done once, seen whole or not at all, and shared by several processes."""

from __future__ import annotations

import multiprocessing
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.store import Store, content_hash, write_atomically
from rerankbench.types import Run

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.dictionaries(st.text("abcdef0123456789", min_size=1), JSON, max_size=5))
def test_answers_come_back_as_they_were(tmp_path: Path, answers: dict[str, Any]) -> None:
    store = Store(tmp_path / content_hash(answers))
    store.add_answers(answers)
    store.close()
    assert store.answers([*answers, "absent"]) == answers
    store.close()


def test_more_keys_than_one_statement_takes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    answers = {f"key{number}": number for number in range(40_000)}
    store.add_answers(answers)
    assert store.answers(list(answers)) == answers
    assert store.answers([]) == {}


def test_the_first_answer_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_answers({"key": 1})
    store.add_answers([("key", 2), ("other", None)])
    assert store.answers(["key", "other"]) == {"key": 1, "other": None}


def test_a_run_is_retrieved_once(tmp_path: Path) -> None:
    run: Run = {"q1": [("dé", 1.5), ("d2", -0.1)], "q2": []}
    calls: list[int] = []

    def retrieve() -> Run:
        calls.append(1)
        return run

    assert Store(tmp_path).run("key", retrieve) == (run, False)
    assert Store(tmp_path).run("key", retrieve) == (run, True)
    assert len(calls) == 1


def test_a_failed_run_or_index_leaves_nothing(tmp_path: Path) -> None:
    def fail(*_: Path) -> Run:
        for folder in _:
            (folder / "half").write_text("x")
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        Store(tmp_path).run("key", fail)
    with pytest.raises(RuntimeError):
        Store(tmp_path).index("key", fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    folder, before = Store(tmp_path).index("key", lambda path: (path / "whole").touch())
    assert ([file.name for file in folder.iterdir()], before) == (["whole"], False)
    assert Store(tmp_path).index("key", fail) == (folder, True)
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055


def test_an_index_that_another_process_finished_first_is_taken(tmp_path: Path) -> None:
    def slow(path: Path) -> None:
        (path / "slow").touch()
        Store(tmp_path).index("key", lambda other: (other / "fast").touch())

    folder, _ = Store(tmp_path).index("key", slow)
    assert [file.name for file in folder.iterdir()] == ["fast"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "inner" / "file"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \udcff")
    assert file.read_text() == "old"
    write_atomically(file, "new")
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


def _share(folder: Path, number: int, start: float) -> int:
    while time.time() < start:
        pass
    store = Store(folder)
    for part in range(5):
        store.add_answers({f"{number}-{part}-{i}": [number, i] for i in range(20)} | {"same": "same"})
    folder, _ = store.index("key", lambda path: (path / "built").write_text("whole"))
    assert (folder / "built").read_text() == "whole"
    return len(store.answers([f"{number}-{part}-{i}" for part in range(5) for i in range(20)]))


def test_several_processes_open_one_fresh_store_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for trial in range(8):
            folder, start = tmp_path / str(trial), time.time() + (1.0 if trial == 0 else 0.05)
            assert pool.starmap(_share, [(folder, number, start) for number in range(4)], chunksize=1) == [100] * 4
            everything = [f"{n}-{part}-{i}" for n in range(4) for part in range(5) for i in range(20)]
            assert len(Store(folder).answers(everything)) == 400


def test_a_hash_is_of_the_content(tmp_path: Path) -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert len({content_hash("a", "b"), content_hash("ab"), content_hash(["a", "b"]), content_hash("b", "a")}) == 4


def test_a_folder_that_cannot_be_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(ConfigError, match=r"^store\.dir: cannot "):
            Store(folder)
