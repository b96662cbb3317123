"""Measures agree with trec_eval on anything a run and its judgments can be; orders survive being written as scores."""

import itertools
import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rerankbench.config.build import build
from rerankbench.errors import ConfigError
from rerankbench.evaluation.measures import Measures, judged_at, per_query, strictly_decreasing

TREC = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@3": "ndcg_cut_3",
    "ndcg": "ndcg",
    "map": "map",
    "map@5": "map_cut_5",
    "mrr": "recip_rank",
    "recall@100": "recall_100",
    "recall@5": "recall_5",
    "p@1": "P_1",
    "precision@5": "P_5",
    "success@1": "success_1",
    "hit_rate@5": "success_5",
    "r_precision": "Rprec",
}
DOCUMENTS = [f"d{i}" for i in range(12)] + ["D1", "é1", "d/1", "ω"]
documents = st.sampled_from(DOCUMENTS)
# Few distinct scores, and some that only differ beyond float32: ties of both kinds.
scores = st.one_of(st.sampled_from([0.0, -1.5, 1.0, 1.0 + 1e-9, 3.25, -1e-3]), st.floats(-1e6, 1e6))
rankings = st.dictionaries(documents, scores, max_size=16).map(lambda found: list(found.items()))
judgments = st.dictionaries(documents, st.integers(-2, 4), min_size=1, max_size=14)
queries = st.sampled_from(["q1", "q2", "q3", "10"])


def _in_trec_order(ranking):
    """By score as float32, descending; equal scores by document id, descending."""
    return sorted(ranking, key=lambda pair: (float(np.float32(pair[1])), pair[0]), reverse=True)


def trec_eval(run, qrels, threshold):
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(TREC.values()), relevance_level=threshold)
    return evaluator.evaluate({query: dict(ranking) for query, ranking in run.items()})


@settings(max_examples=250, deadline=None)
@given(
    run=st.dictionaries(queries, rankings),
    qrels=st.dictionaries(queries, judgments, min_size=1),
    threshold=st.integers(1, 3),
)
@example(run={"q1": []}, qrels={"q1": {"d1": 1}}, threshold=1)
@example(run={}, qrels={"q1": {"d1": 0}, "q2": {"d1": 1}}, threshold=1)
@example(run={"q1": [("d1", 1.0), ("d2", 1.0)]}, qrels={"q1": {"d1": 1, "d2": 0}}, threshold=1)
def test_agrees_with_trec_eval(run, qrels, threshold):
    run = {query: _in_trec_order(ranking) for query, ranking in run.items()}
    nonnegative = {query: {d: max(0, grade) for d, grade in grades.items()} for query, grades in qrels.items()}
    expected = trec_eval(run, nonnegative, threshold)
    found = per_query(list(TREC), run, qrels, threshold)
    for name, theirs in TREC.items():
        assert list(found[name]) == list(qrels)
        for query in qrels:
            assert found[name][query] == pytest.approx(expected.get(query, {}).get(theirs, 0.0), abs=1e-9), (
                name,
                query,
            )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(documents, st.floats(-1e30, 1e30)), max_size=16, unique_by=lambda pair: pair[0]))
def test_trec_eval_sees_the_order_that_was_written(ranking):
    """Whatever the order and the scores: trec_eval on the written scores measures the same as we on the order."""
    written = [float(str(np.float32(score))) for score in strictly_decreasing([score for _, score in ranking])]
    run = {"q": list(zip([document for document, _ in ranking], written, strict=True))}
    qrels = {"q": {document: place % 3 for place, document in enumerate(DOCUMENTS)}}
    expected = trec_eval(run, qrels, 1).get("q", {})
    for name, theirs in (("ndcg@10", "ndcg_cut_10"), ("map", "map"), ("mrr", "recip_rank")):
        ours = per_query([name], {"q": [(document, 0.0) for document, _ in ranking]}, qrels, 1)[name]["q"]
        assert ours == pytest.approx(expected.get(theirs, 0.0), abs=1e-9)


def test_mrr_with_a_cutoff():
    run = {"q": [(f"d{i}", -float(i)) for i in range(20)]}
    values = per_query(["mrr@10", "mrr@11", "mrr"], run, {"q": {"d10": 1}}, 1)
    assert [values[name]["q"] for name in values] == [0.0, pytest.approx(1 / 11), pytest.approx(1 / 11)]


def test_a_document_given_twice_counts_once():
    run = {"q": [("d1", 3.0), ("d1", 2.0), ("d2", 1.0)]}
    values = per_query(["recall@10", "ndcg@10", "map"], run, {"q": {"d1": 1, "d2": 1}}, 1)
    assert all(values[name]["q"] == pytest.approx(1.0) for name in values)


def test_threshold_binds_binary_measures_and_leaves_ndcg_its_grades():
    run, qrels = {"q": [("a", 2.0), ("b", 1.0)]}, {"q": {"a": 1, "b": 2}}
    low, high = per_query(["p@1", "ndcg@10"], run, qrels, 1), per_query(["p@1", "ndcg@10"], run, qrels, 2)
    assert (low["p@1"]["q"], high["p@1"]["q"]) == (1.0, 0.0)
    assert low["ndcg@10"] == high["ndcg@10"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nDCG@10", "'ndcg@10'"),
        ("ndcg10", "'ndcg@10'"),
        ("ndgc@5", "ndcg@10"),
        ("MRR", "'mrr'"),
        ("p", "p@10"),
        ("recall@0", "whole number"),
        ("ndcg@ten", "whole number"),
        ("ndcg@", "whole number"),
        ("r_precision@5", "takes no cutoff"),
        ("speed", "choose from"),
    ],
)
def test_a_wrong_name_is_answered_with_the_way_out(name, hint):
    with pytest.raises(ConfigError, match=hint) as caught:
        build({"_target_": Measures, "names": [name]}, "measures")
    assert caught.value.key == "measures.names"
    assert "\n" not in str(caught.value)


def test_no_name_or_the_same_twice_is_refused():
    with pytest.raises(ConfigError):
        Measures(names=[])
    with pytest.raises(ConfigError, match="twice"):
        Measures(names=["map", "map"])


def test_judged_share_counts_what_is_there():
    run = {"a": [("x", 1.0), ("y", 0.5)], "b": [], "c": [(f"d{i}", 0.0) for i in range(20)]}
    qrels = {"a": {"x": 0}, "b": {"x": 1}, "c": {"d0": 1, "d15": 1}, "e": {"x": 1}}
    assert judged_at(run, qrels) == {"a": 0.5, "c": 0.1}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
@example([-3.5e38] * 3)
@example([3.5e38, 3.5e38, -3.5e38, -3.5e38])
@example([0.0, -0.0, 0.0])
@example([1e-46] * 4)
def test_written_scores_strictly_decrease_and_stay_near(values):
    written = strictly_decreasing(values)
    assert len(written) == len(values)
    assert all(math.isfinite(v) and float(np.float32(v)) == v for v in written)
    assert all(above > below for above, below in itertools.pairwise(written))
    limit = float(np.finfo(np.float32).max)
    single = [float(np.float32(np.clip(value, -limit, limit))) for value in values]
    if all(above > below for above, below in itertools.pairwise(single)):
        assert written == single  # nothing is moved without need


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError):
        strictly_decreasing([1.0, bad])


def _first_grade(ranking, grades, threshold):
    return grades.get(ranking[0], 0) / threshold if ranking else 0.0


def test_own_measures_stand_among_the_built_in_ones():
    measures = Measures(names=["first", "map"], own={"first": _first_grade})
    run = {"a": [("x", 1.0), ("x", 0.5), ("y", 0.2)], "b": []}
    values = measures.per_query(run, {"a": {"x": 2}, "b": {"x": 1}}, 2)
    assert list(values) == ["first", "map"]
    assert values["first"] == {"a": 1.0, "b": 0.0}
    assert values["map"] == {"a": 1.0, "b": 0.0}


def test_own_measures_are_suggested_and_must_give_numbers():
    with pytest.raises(ConfigError, match="did you mean 'first'"):
        Measures(names=["frist"], own={"first": _first_grade})
    own = {"broken": lambda ranking, grades, threshold: math.nan}
    measures = build({"_target_": Measures, "names": ["broken"], "own": own}, "measures")
    with pytest.raises(ConfigError, match=r"measures\.own\.broken: gave nan for query 'q'"):
        measures.per_query({"q": []}, {"q": {"x": 1}}, 1)
