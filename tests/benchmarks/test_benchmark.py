"""What every benchmark does with its options, whatever it was read from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.benchmarks.benchmark import Benchmark, BenchmarkOptions, assemble
from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.errors import ConfigError
from rerankbench.types import Qrels, Query, Run
from tests.configured import refused

QUERIES = [Query(f"q{number}", f"text {number}") for number in range(20)]
QRELS: Qrels = {query.id: {f"d{query.id}": 1, "d0": 0} for query in QUERIES}


def made(
    options: BenchmarkOptions | None = None,
    queries: list[Query] = QUERIES,
    qrels: Qrels = QRELS,
    candidates: Run | None = None,
) -> Benchmark:
    return assemble(
        options or BenchmarkOptions(),
        name="toy",
        queries=queries,
        qrels=qrels,
        corpus=MemoryCorpus([]),
        candidates=candidates,
    )


@given(st.integers(1, 30), st.integers(0, 5), st.permutations(QUERIES))
def test_a_sample_is_the_same_whatever_the_order_of_the_file(size: int, seed: int, shuffled: list[Query]) -> None:
    options = BenchmarkOptions(queries=size, seed=seed)
    benchmark = made(options, shuffled)
    chosen = {query.id for query in benchmark.queries}
    assert len(benchmark.queries) == len(chosen) == min(size, 20)
    assert chosen == set(benchmark.qrels) == {query.id for query in made(options).queries}
    assert [query for query in shuffled if query.id in chosen] == list(benchmark.queries)


def test_samples_of_two_seeds_differ() -> None:
    samples = {made(BenchmarkOptions(queries=5, seed=seed)).queries for seed in range(5)}
    assert len(samples) > 1


def test_what_cannot_be_used_is_counted() -> None:
    qrels: Qrels = {"q1": {"d1": 1}, "q2": {"d1": 0}, "unknown": {"d1": 1}}
    benchmark = made(qrels=qrels, candidates={"q1": [("d1", 1.0)], "other": [("d1", 1.0)]})
    assert [query.id for query in benchmark.queries] == ["q1", "q2"]
    assert benchmark.candidates == {"q1": [("d1", 1.0)], "q2": []}
    assert benchmark.missing == {
        "judged_queries_not_found": 1,
        "queries_without_relevant": 1,
        "queries_without_candidates": 1,
    }


def test_judged_candidates_are_the_judged_documents_in_an_order_that_tells_nothing() -> None:
    qrels: Qrels = {query.id: {f"d{n}": int(n < 5) for n in range(10)} for query in QUERIES}
    flipped: Qrels = {query.id: {f"d{n}": int(n >= 5) for n in reversed(range(10))} for query in QUERIES}
    one = made(BenchmarkOptions(candidates="judged"), qrels=qrels).candidates
    assert one is not None
    assert one == made(BenchmarkOptions(candidates="judged"), qrels=flipped).candidates
    for ranking in one.values():
        assert sorted(ranking) == [(f"d{n}", 0.0) for n in range(10)]
    first = sum(qrels[query_id][ranking[0][0]] for query_id, ranking in one.items())
    assert 0 < first < len(QUERIES)


def test_no_judged_query_left_is_an_error_that_shows_both_kinds_of_id() -> None:
    with pytest.raises(ConfigError, match="such as 'q0', the judged ones such as '1'"):
        made(qrels={"1": {"d1": 1}})


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"queries": 0}, "queries"),
        ({"threshold": 0}, "threshold"),
        ({"fields": ()}, "fields"),
        ({"fields": "text"}, "fields"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], key: str) -> None:
    assert refused(BenchmarkOptions, **options) == key
