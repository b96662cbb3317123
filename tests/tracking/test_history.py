"""A history holds what was logged, survives a kill, and forgets what a resumed training logs anew."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import DataError
from rerankbench.tracking.history import Entry, History, offsets, read_history


def line(stage: int, step: int, **values: float) -> dict[str, float]:
    return {"stage": stage, "step": step, **values}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "run" / "history.jsonl")


def test_what_is_written_is_read(history: History) -> None:
    assert history.entries() == []
    history.append({"stage": 0, "step": 12, "epoch": 0.5, "loss": 1.25, "weights/mean": 1})
    history.append({"stage": 0, "step": 12, "dev/ndcg@10": 0.5, "odd \u2028 näme": 2.0})
    assert history.entries() == [
        Entry(0, 12, 0.5, {"loss": 1.25, "weights/mean": 1.0}),
        Entry(0, 12, None, {"dev/ndcg@10": 0.5, "odd \u2028 näme": 2.0}),
    ]
    for text in history.path.read_text().split("\n")[:-1]:
        assert json.loads(text)["schema"] == 1


def test_a_lost_loss_stays_in_the_record(history: History) -> None:
    for value in (math.nan, math.inf, -math.inf):
        history.append(line(0, 1, loss=value))
    assert "NaN" not in history.path.read_text() and "Infinity" not in history.path.read_text()
    assert all(math.isnan(entry.values["loss"]) for entry in history.entries()) and len(history.entries()) == 3


def test_a_line_needs_its_place(history: History) -> None:
    with pytest.raises(KeyError):
        history.append({"step": 1, "loss": 1.0})
    assert not history.path.exists()


@given(st.integers(0, 3), st.binary(min_size=1, max_size=40).filter(lambda rest: b"\n" not in rest))
def test_a_half_written_line_is_counted_and_then_written_over(tmp_path_factory, whole: int, rest: bytes) -> None:
    path = tmp_path_factory.mktemp("killed") / "history.jsonl"
    for step in range(whole):
        History(path).append(line(0, step, loss=1.0))
    with path.open("ab") as file:
        file.write(rest)
    entries, broken = read_history(path)
    assert (len(entries), broken) == (whole, 1)
    history = History(path)
    history.append(line(0, whole, loss=2.0))
    assert [entry.step for entry in history.entries()] == list(range(whole + 1))
    assert read_history(path)[1] == 0


places = st.tuples(st.integers(0, 3), st.integers(0, 20))


@given(st.lists(places, max_size=15), st.tuples(st.integers(0, 3), st.integers(-1, 20)), st.booleans())
def test_truncate_cuts_what_lies_behind_and_nothing_else(tmp_path_factory, logged, at, killed: bool) -> None:
    path = tmp_path_factory.mktemp("resumed") / "history.jsonl"
    history = History(path)
    for number, (stage, step) in enumerate(logged):
        history.append(line(stage, step, number=number))
    if killed:
        with path.open("ab") as file:
            file.write('{"stage": 0, "näme'.encode()[:-2])
    history.truncate(*at)
    kept = [(place, number) for number, place in enumerate(logged) if place <= at]
    assert [((e.stage, e.step), e.values["number"]) for e in history.entries()] == kept
    assert read_history(path)[1] == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{\n", "no entry"),
        ("[]\n", "no entry"),
        ('{"step": 1}\n', "no entry"),
        ('{"stage": 0, "step": 1, "loss": "x"}\n', "no entry"),
        ('{"schema": 2, "stage": 0, "step": 1}\n', "newer"),
    ],
)
def test_what_is_no_history_is_told_with_its_line(history: History, text: str, problem: str) -> None:
    history.append(line(0, 1, loss=1.0))
    with history.path.open("a") as file:
        file.write(text)
    with pytest.raises(DataError, match=rf"history\.jsonl:2: .*{problem}"):
        history.entries()


@given(st.lists(places, max_size=30))
def test_steps_grow_over_the_stages(logged) -> None:
    entries = [Entry(stage, step, None, {}) for stage, step in sorted(logged)]
    starts = offsets(entries)
    over_all = [starts[entry.stage] + entry.step for entry in entries]
    assert over_all == sorted(over_all)
    assert starts.get(min(starts, default=0), 0) == 0
