"""The record has the shape that others rely on, and its means are those of its rows."""

import json
from collections import defaultdict

import pytest

from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.records import Metrics
from rerankbench.evaluation.summary import summarize

QRELS = {"q1": {"a": 2, "b": 1}, "q2": {"c": 1}, "q3": {"d": 0}, "q4": {"e": 1}}
FIRST = {"q1": [("b", 2.0), ("x", 1.0), ("a", 0.5)], "q2": [("y", 1.0), ("c", 0.5)], "q3": [("d", 1.0)], "q4": []}
RERANKED = {"q1": [("a", 2.0), ("b", 1.0), ("x", 0.5)], "q2": [("c", 1.0), ("y", 0.5)], "q3": [("d", 1.0)], "q4": []}


def test_shape_and_counts():
    metrics, rows = summarize(Measures(names=["ndcg@10", "p@1"]), QRELS, FIRST, RERANKED, 1, 0, {"odd_things": 3})
    record = metrics.to_json()
    assert list(record) == ["queries", "measures", "judged@10", "missing"]
    assert (Metrics.SCHEMA, record["queries"]) == (1, 4)
    keys = ["first_stage", "reranked", "difference", "ci95", "p_ttest", "p_randomization"]
    assert list(record["measures"]["ndcg@10"]) == keys
    assert record["measures"]["p@1"]["reranked"] == 0.5
    assert record["judged@10"] == {
        "first_stage": pytest.approx((2 / 3 + 1 / 2 + 1) / 3),
        "reranked": pytest.approx(13 / 18),
    }
    assert record["missing"] == {"odd_things": 3, "queries_without_candidates": 1, "queries_without_relevant": 1}
    assert Metrics.from_json(json.loads(json.dumps(record, allow_nan=False))) == metrics

    assert len(rows) == 8
    by_measure = defaultdict(list)
    for row in rows:
        by_measure[row.measure].append(row)
    for name, found in by_measure.items():
        for key in ("first_stage", "reranked", "difference"):
            assert sum(getattr(row, key) for row in found) / 4 == pytest.approx(record["measures"][name][key])


def test_two_runs_alike_differ_in_nothing():
    metrics, _ = summarize(Measures(names=["ndcg@10"]), QRELS, FIRST, FIRST, 1, 0, {})
    assert metrics.measures["ndcg@10"].difference == 0.0
    assert metrics.measures["ndcg@10"].p_randomization == 1.0


def test_the_threshold_decides_what_is_relevant():
    metrics, _ = summarize(Measures(names=["p@1"]), QRELS, FIRST, RERANKED, 2, 0, {})
    assert metrics.missing["queries_without_relevant"] == 3
    assert metrics.measures["p@1"].after == 0.25
