"""Typing mistakes are as many as asked for, the same every time, and of the kinds asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.benchmarks.perturbations.query_typos import QueryTypos
from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.types import Query

KINDS = ("insert", "delete", "substitute", "swap")


def _typed(typos: QueryTypos, *texts: str) -> list[str]:
    queries = tuple(Query(f"q{i}", text, metadata={"kept": True}) for i, text in enumerate(texts))
    changed = typos.apply(Benchmark("b", queries, {}, MemoryCorpus([]))).queries
    assert [query.id for query in changed] == [query.id for query in queries]
    assert all(query.metadata == {"kept": True} for query in changed)
    return [query.text for query in changed]


@given(st.text(max_size=40), st.floats(0, 1), st.sets(st.sampled_from(KINDS), min_size=1), st.integers(0, 9))
def test_any_text_is_changed_the_same_way_again(text: str, rate: float, kinds: set[str], seed: int) -> None:
    typos = QueryTypos(rate=rate, kinds=sorted(kinds), seed=seed)  # type: ignore[arg-type]
    (once,), (twice,) = _typed(typos, text), _typed(typos, text)
    assert once == twice
    assert bool(once.strip()) == bool(text.strip())


def test_a_query_does_not_depend_on_the_others() -> None:
    typos, text = QueryTypos(rate=0.5), "the quick brown fox jumps over the lazy dog"
    assert _typed(typos, text)[0] == _typed(typos, text, "another")[0]
    first, second = _typed(typos, text, text)
    assert first != second
    assert _typed(replace(typos, seed=1), text)[0] != first


def test_no_rate_no_mistake_and_no_letter_no_mistake() -> None:
    assert _typed(QueryTypos(rate=0), "some words") == ["some words"]
    assert _typed(QueryTypos(rate=1), "2024 !?") == ["2024 !?"]


def test_each_kind_does_what_it_says() -> None:
    text = "abcdefgh"
    one = {kind: _typed(QueryTypos(rate=1, kinds=[kind]), text)[0] for kind in KINDS}  # type: ignore[list-item]
    assert len(one["insert"]) == 16 and one["insert"][1::2] == text
    assert one["delete"] == text, "nothing would be left"
    assert len(one["substitute"]) == 8 and one["substitute"] != text
    assert one["swap"] == "badcfehg"


def test_the_rate_is_that_of_the_letters() -> None:
    text = "lorem ipsum dolor sit amet " * 200
    (changed,) = _typed(QueryTypos(rate=0.1, kinds=["substitute"]), text)
    mistakes = sum(a != b for a, b in zip(text, changed, strict=True))
    assert mistakes / sum(map(str.isalpha, text)) == pytest.approx(0.1 * 25 / 26, abs=0.02)


@pytest.mark.parametrize(("key", "value"), [("rate", 1.5), ("rate", -0.1), ("kinds", []), ("kinds", ["shuffle"])])
def test_bounds_are_checked_with_the_configuration(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"perturbation.typos.{key}"):
        check({"_target_": QueryTypos, key: value}, "perturbation.typos")
