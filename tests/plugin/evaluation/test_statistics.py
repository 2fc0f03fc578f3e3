"""Statistics against numbers worked out by hand or by trying every possibility."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from orthanc_liver.evaluation.statistics import bland_altman, spread, wilcoxon


def p_by_every_sign(differences: list[float]) -> float:
    """The share of all 2^n sign patterns that are at least as one-sided as this one."""
    nonzero = [d for d in differences if d]
    ranks = rankdata(np.abs(nonzero))
    half = ranks.sum() / 2
    seen = abs(sum(r for r, d in zip(ranks, nonzero, strict=True) if d > 0) - half)
    sums = [
        abs(sum(r for r, up in zip(ranks, signs, strict=True) if up) - half)
        for signs in itertools.product((False, True), repeat=len(nonzero))
    ]
    return float(np.mean([s >= seen - 1e-9 for s in sums]))


def test_six_pairs_that_all_differ_one_way() -> None:
    found = wilcoxon([0.95, 0.96, 0.94, 0.97, 0.93, 0.955], [0.8, 0.85, 0.9, 0.7, 0.92, 0.6])
    assert found.p == pytest.approx(2 / 64)
    assert (found.exact, found.count) == (True, 6)
    assert found.least_p == pytest.approx(0.03125)


@settings(max_examples=25)
@given(st.lists(st.integers(-4, 4), min_size=3, max_size=8).filter(any))
def test_exact_with_ties_and_equal_pairs(differences: list[int]) -> None:
    found = wilcoxon([float(d) for d in differences], [0.0] * len(differences))
    assert found.exact
    assert found.p == pytest.approx(p_by_every_sign([float(d) for d in differences]))


def test_the_same_method_twice() -> None:
    assert wilcoxon([0.9, 0.8], [0.9, 0.8]).p == 1.0


def test_many_pairs_are_said_to_be_approximate() -> None:
    rng = np.random.default_rng(3)
    found = wilcoxon(rng.normal(1, 1, 40).tolist(), rng.normal(0, 1, 40).tolist())
    assert not found.exact
    assert 0 < found.p < 0.01


def test_spread_of_known_numbers() -> None:
    found = spread([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.mean, found.low, found.high, found.count) == (5, 2, 9, 8)
    assert found.sd == pytest.approx((32 / 7) ** 0.5)
    assert found.interval is not None
    assert 3.5 < found.interval[0] < 5 < found.interval[1] < 7
    assert spread([3.0]).sd == 0
    assert spread([3.0, 4.0]).interval is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(60):
        interval = spread(rng.normal(10, 2, 15).tolist()).interval
        assert interval is not None
        held += interval[0] <= 10 <= interval[1]
    assert 50 <= held <= 60


def test_limits_of_agreement() -> None:
    found = bland_altman([1510.0, 1190.0, 2030.0], [1500.0, 1200.0, 2000.0])
    assert found.bias == pytest.approx(10)
    assert (found.upper - found.bias) == pytest.approx(1.96 * 20)
    assert (found.bias - found.lower) == pytest.approx(1.96 * 20)
