"""Samplers: from where they draw, how often, and what they refuse."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.training.false_negatives import Judge, Margin
from rerankbench.training.negatives import Bottom, Context, Judged, Mixed, Needs, Random, Sampler, TopK, Window
from tests.training.world import context

TEN = [f"d{i}" for i in range(1, 11)]


def _reached(sampler: Sampler, shown: Context, count: int = 2, times: int = 300) -> set[str]:
    """Everything it draws at one time or another."""
    rng = random.Random(0)
    return {document for _ in range(times) for document in sampler.draw(shown, count, rng)}


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (TopK(k=4), {"d1", "d2", "d4"}),
        (TopK(k=50), set(TEN) - {"d3"}),
        (Window(first=3, last=5), {"d4", "d5"}),
        (Window(first=9, last=100), {"d9", "d10"}),
        (Bottom(m=3, k=5), {"d4", "d5"}),
        (Bottom(m=3, k=100), {"d8", "d9", "d10"}),
        (Judged(), {"d7", "x"}),
        (Random(pool=3), {"p1", "p2", "d1"}),
    ],
)
def test_where_a_sampler_draws_from(sampler: Sampler, expected: set[str]) -> None:
    shown = context(TEN, positives=["d3"], grades={"d7": 0, "x": -1}, pool=["p1", "p2", "d1", "d3"])
    assert _reached(sampler, shown) == expected
    everything = sampler.draw(shown, 100, random.Random(1))
    assert sorted(everything) == sorted(expected), "all once where more is asked than there is"


@pytest.mark.parametrize("sampler", [TopK(k=10), Random(pool=10)])
def test_every_eligible_document_is_as_likely(sampler: Sampler) -> None:
    shown = context(TEN, positives=["d3", "d4"], pool=TEN)
    rng = random.Random(0)
    counts = Counter(document for _ in range(2000) for document in sampler.draw(shown, 2, rng))
    assert len(counts) == 8 and all(430 < count < 570 for count in counts.values())


def test_with_a_teacher_only_what_it_scored_is_drawn() -> None:
    shown = context(TEN, positives=["d3"], teacher={"d3": 1.0, "d4": 0.2, "d9": 0.1}, pool=["d9", "d10"])
    assert _reached(TopK(k=10), shown) == {"d4", "d9"}
    assert _reached(Random(pool=2), shown) == {"d9"}


SCORES = [10.0, 9.0, 8.0, 7.6, 7.5, 7.0, 5.0, 4.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("sampler", "positives", "kept"),
    [
        (Margin(ratio=0.95), ["d3"], {"d4", "d5", "d6", "d7", "d8", "d9", "d10"}),
        (Margin(ratio=0.5), ["d3"], {"d8", "d9", "d10"}),
        (Margin(ratio=None, margin=0.5), ["d3"], {"d5", "d6", "d7", "d8", "d9", "d10"}),
        (Margin(ratio=0.95, k=5), ["d3"], {"d4", "d5"}),
        (Margin(ratio=0.95), ["d1", "d8"], {"d9", "d10"}),
        (Margin(ratio=0.95), ["d1", "elsewhere"], {*TEN[1:]}),
        (Margin(ratio=0.95), ["elsewhere"], set()),
    ],
)
def test_a_margin_is_kept_below_the_lowest_positive(sampler: Margin, positives: list[str], kept: set[str]) -> None:
    shown = context(TEN, SCORES, positives)
    assert _reached(sampler, shown) == kept
    among = [document for document in TEN[: sampler.k] if document not in positives]
    assert sampler.refused(shown) == len(among) - len(kept)


@given(
    scores=st.lists(st.floats(0, 1), min_size=2, max_size=12),
    positive=st.integers(0, 11),
    margin=st.floats(0, 0.5),
    ratio=st.floats(0.1, 1),
    by_margin=st.booleans(),
)
def test_no_negative_scores_within_the_margin(
    scores: list[float], positive: int, margin: float, ratio: float, by_margin: bool
) -> None:
    teacher = {f"d{i}": score for i, score in enumerate(scores)}
    chosen = f"d{positive % len(scores)}"
    sampler = (
        Margin(margin=margin, ratio=None, scores="teacher") if by_margin else Margin(ratio=ratio, scores="teacher")
    )
    shown = context(sorted(teacher), positives=[chosen], teacher=teacher)
    highest = teacher[chosen] - margin if by_margin else ratio * teacher[chosen]
    expected = {document for document, score in teacher.items() if document != chosen and score <= highest}
    assert set(sampler.draw(shown, 100, random.Random(0))) == expected


def test_a_ratio_of_negative_scores_is_refused() -> None:
    shown = context(TEN, [-score for score in range(10)], positives=["d3"])
    with pytest.raises(ConfigError, match=r"^ratio: needs scores that are not negative, a positive has -2"):
        Margin(ratio=0.9).draw(shown, 1, random.Random(0))
    assert Margin(ratio=None, margin=1.0).draw(shown, 100, random.Random(0))


def test_a_judge_drops_false_negatives_and_spreads_over_the_ranks() -> None:
    judge = Judge(k=9, beta=0.01, stride=3)
    scores = {"d1": 0.9, "d2": 0.895, "d3": 0.95, "d10": 0.0} | {f"d{i}": 0.5 for i in range(4, 10)}
    shown = context(TEN, positives=["d1"], teacher=scores)
    assert judge.refused(shown) == 2
    left = [f"d{i}" for i in range(4, 10)]
    cycle = ["d4", "d7", "d5", "d8", "d6", "d9"]
    turns = [[*cycle[start:], *cycle[:start]] for start in range(6)]
    assert {tuple(judge.draw(shown, 100, random.Random(seed))) for seed in range(200)} == set(map(tuple, turns))
    assert _reached(judge, shown, count=1) == set(left)
    assert judge.draw(context(TEN, positives=["d1"], teacher={"d1": 0.9}), 3, random.Random(0)) == []


@given(seed=st.integers(), n=st.integers(0, 30), stride=st.integers(1, 7), count=st.integers(0, 40))
def test_a_judge_never_repeats(seed: int, n: int, stride: int, count: int) -> None:
    ranked = [f"d{i}" for i in range(n)]
    shown = context(ranked, positives=["p"], teacher={"p": 1.0, **dict.fromkeys(ranked, 0.0)})
    drawn = Judge(stride=stride).draw(shown, count, random.Random(seed))
    assert len(drawn) == len(set(drawn)) == min(n, count)


def test_a_mixture_keeps_its_shares() -> None:
    shown = context([f"r{i}" for i in range(40)], pool=[f"p{i}" for i in range(60)])
    sampler = Mixed(samplers=[TopK(k=40), Random(pool=60)], weights=[3, 1])
    rng = random.Random(0)
    drawn = [document[0] for _ in range(1000) for document in sampler.draw(shown, 4, rng)]
    assert len(drawn) == 4000
    assert 0.72 < drawn.count("r") / 4000 < 0.78


@given(seed=st.integers(), count=st.integers(0, 12))
def test_a_mixture_of_the_same_documents_repeats_none_and_fills_up(seed: int, count: int) -> None:
    shown = context(TEN[:4], positives=["d2"], pool=["d1", "d3", "x"])
    sampler = Mixed(samplers=[TopK(k=4), Random(pool=3)], weights=[0.5, 0.5])
    drawn = sampler.draw(shown, count, random.Random(seed))
    assert len(drawn) == len(set(drawn)) == min(count, 4)
    assert set(drawn) <= {"d1", "d3", "d4", "x"}


def test_a_sampler_of_weight_zero_is_never_asked() -> None:
    shown = context(TEN, pool=["x"])
    sampler = Mixed(samplers=[TopK(k=2), Random(pool=1)], weights=[1, 0])
    assert sorted(sampler.draw(shown, 5, random.Random(0))) == ["d1", "d2"]


def test_needs_tell_what_must_be_read() -> None:
    assert TopK(k=7).needs() == Needs(depth=7)
    assert Window(first=3, last=9).needs() == Needs(depth=9)
    assert Bottom(m=2, k=9).needs() == Needs(depth=9)
    assert Judge(k=5).needs() == Needs(depth=5, teacher=True)
    mixed = Mixed(samplers=[TopK(k=7), Random(pool=5), Margin(k=3, scores="teacher")], weights=[1, 1, 1])
    assert mixed.needs() == Needs(depth=7, pool=5, teacher=True)
    shown = context(TEN, SCORES, ["d3"], teacher={f"d{i}": score for i, score in enumerate(SCORES, 1)})
    assert mixed.refused(shown) == Margin(k=3, scores="teacher").refused(shown) == 2


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        (TopK, {"k": 0}, "k"),
        (Window, {"first": 0}, "first"),
        (Window, {"first": 5, "last": 4}, "last"),
        (Bottom, {"m": 0}, "m"),
        (Bottom, {"m": 9, "k": 8}, "k"),
        (Random, {"pool": 0}, "pool"),
        (Margin, {"margin": 0.1, "ratio": 0.9}, "margin"),
        (Margin, {"ratio": None}, "margin"),
        (Margin, {"ratio": 1.5}, "ratio"),
        (Margin, {"ratio": None, "margin": -0.1}, "margin"),
        (Judge, {"beta": -1}, "beta"),
        (Judge, {"stride": 0}, "stride"),
        (Mixed, {"weights": [1.0]}, "weights"),
        (Mixed, {"weights": [0, 0]}, "weights"),
        (Mixed, {"weights": [2, -1]}, "weights"),
    ],
)
def test_wrong_options(kind: type, options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as told:
        build(check({"_target_": kind, **options}, "negatives"), "negatives")
    assert told.value.key == f"negatives.{key}"
