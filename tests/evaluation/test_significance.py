"""The tests agree with scipy where scipy has an answer, and have one themselves where it has none."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rerankbench.evaluation.significance import SAMPLES, paired

unit = st.floats(0, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(unit, unit), max_size=30), st.integers(0, 2**31))
def test_always_finite_bounded_and_reproducible(pairs, seed):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    result = paired(first, second, seed)
    json.dumps(result, allow_nan=False)
    assert result == paired(first, second, seed)
    assert 0 <= result["p_ttest"] <= 1 and 0 <= result["p_randomization"] <= 1
    low, high = result["ci95"]
    assert low <= high
    swapped = paired(second, first, seed)
    assert swapped["difference"] == -result["difference"]
    assert swapped["p_ttest"] == pytest.approx(result["p_ttest"])


@pytest.mark.parametrize("n", [2, 5, 13, 14, 60, 500])
def test_agrees_with_scipy(n):
    rng = np.random.default_rng(n)
    first = rng.random(n)
    second = first + rng.normal(0.05, 0.2, n)
    result = paired(first.tolist(), second.tolist(), 0)
    assert result["difference"] == pytest.approx((second - first).mean())
    assert result["p_ttest"] == pytest.approx(stats.ttest_rel(second, first).pvalue, rel=1e-9)
    exact = n <= 13
    theirs = stats.permutation_test(
        (second - first,), np.mean, permutation_type="samples", n_resamples=np.inf if exact else SAMPLES, rng=1
    ).pvalue
    assert result["p_randomization"] == pytest.approx(theirs, abs=1e-12 if exact else 0.02)


def test_the_interval_is_the_bootstrap_of_the_mean():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.1, 1.0, 400)
    low, high = paired([0.0] * 400, differences.tolist(), 3)["ci95"]
    error = differences.std() / math.sqrt(400)
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.1 * error)


def test_where_nothing_can_be_told():
    none = {"difference": 0.0, "ci95": [0.0, 0.0], "p_ttest": 1.0, "p_randomization": 1.0}
    assert paired([], [], 0) == none
    assert paired([0.3, 0.7], [0.3, 0.7], 0) == none
    one = paired([0.0], [1.0], 0)
    assert one == {"difference": 1.0, "ci95": [1.0, 1.0], "p_ttest": 1.0, "p_randomization": 1.0}


def test_the_same_difference_everywhere():
    result = paired([0.25] * 10, [0.5] * 10, 0)
    assert (result["difference"], result["ci95"], result["p_ttest"]) == (0.25, [0.25, 0.25], 0.0)
    assert result["p_randomization"] == pytest.approx(2 / 2**10)


def test_zero_differences_change_no_randomization():
    assert (
        paired([0.0] * 9, [0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.2, 0.3, 0.1], 0)["p_randomization"]
        == (paired([0.0] * 99, [0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.2, 0.3, 0.1] + [0.0] * 90, 0)["p_randomization"])
    )
