"""Held-out queries are found among training queries, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.local import Local
from rerankbench.benchmarks.pydocs import SPLITS, PyDocs
from rerankbench.errors import ConfigError
from rerankbench.training.leakage import leaked, text_hash
from rerankbench.training.sampling import GroupOptions
from rerankbench.types import Query
from tests.conftest import DATA
from tests.training.world import source


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Who wrote Faust?", "who  wrote\tfaust", True),
        ("Who wrote Faust?", " WHO WROTE FAUST ?! ", True),
        ("\ufb01le \uff4eame", "file name", True),
        ("Straße", "STRASSE", True),
        ("what is C", "what is C++", False),
        ("who wrote Faust", "who wrote Faust II", False),
        ("?", "!", False),
        ("", "?", False),
    ],
)
def test_texts_that_are_the_same(one: str, other: str, same: bool) -> None:
    assert (text_hash(one) == text_hash(other)) is same


@given(st.text(), st.text(alphabet=" \t\n"))
def test_white_space_around_changes_nothing(text: str, space: str) -> None:
    assert text_hash(text) == text_hash(space + text + space)


def test_what_leaks_is_an_error_or_is_left_out() -> None:
    training_set = source({name: {"d1": 1} for name in "abc"})
    held_out = [Query("x", "What is B?"), Query("y", "what is z")]
    with pytest.raises(ConfigError) as told:
        GroupOptions().build([training_set], held_out, None, 0, None)  # type: ignore[arg-type]
    assert "1 of 3 training queries of toy, such as 'what is b'" in str(told.value)
    assert "duplicates=drop" in str(told.value)
    groups = GroupOptions(duplicates="drop").build([training_set], held_out, None, 0, None)  # type: ignore[arg-type]
    assert {groups.group(0, i).query.id for i in range(len(groups))} == {"a", "c"}
    assert groups.counts["held_out_queries_left_out"] == 1
    assert GroupOptions().build([training_set], held_out[1:], None, 0, None).counts["groups"] == 3  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="held out queries left out: 3"):
        everything = training_set.benchmark.queries
        GroupOptions(duplicates="drop").build([training_set], everything, None, 0, None)  # type: ignore[arg-type]


def test_the_embedded_benchmark_does_not_leak() -> None:
    train, *others = (PyDocs(split=split).load().queries for split in SPLITS)
    assert len(train) > 500
    assert leaked(train, [query for queries in others for query in queries]) == []


@pytest.mark.parametrize("name", ["debpkgs", "xquad-sentences-en"])
def test_the_training_collections_do_not_leak(name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip("no such collection here")
    train, dev, test = (Local(path=str(DATA / name), split=s).load().queries for s in ("train", "dev", "test"))
    assert leaked(train, [*dev, *test]) == []
