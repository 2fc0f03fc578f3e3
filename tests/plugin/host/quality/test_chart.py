"""The chart's rules, one by one and on cases drawn with fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orthanc_liver.host.quality.chart import (
    Limits,
    Rule,
    chart,
    charted,
    dsc_of,
    limits_of,
)
from orthanc_liver.host.quality.comparison import Comparison, ModelLimits
from orthanc_liver.host.quality.model_chart import charts_of, limits_now
from tests.plugin.host.quality.test_comparison_notes import AGREEMENT, COMPARISON, NOON

LIMITS = Limits(mean=0.34, sd=0.05, cases=150)
FIRST, IN_ALL, RUNS = 150, 500, 200


def at(away_sd: float) -> float:
    """The DSC of a case so many standard deviations worse than the mean."""
    return dsc_of(LIMITS.mean + away_sd * LIMITS.sd)


def rules(*away_sd: float) -> list[tuple[Rule, ...]]:
    return [point.rules for point in chart([at(one) for one in away_sd], LIMITS)]


def test_what_is_charted() -> None:
    assert charted(1.0) == 0.0
    assert charted(0.0) == 1.0
    assert charted(0.936) == pytest.approx(0.4)
    assert dsc_of(0.4) == pytest.approx(0.936)
    assert (dsc_of(-0.1), dsc_of(1.2)) == (1.0, 0.0)
    assert pytest.approx(0.34) == charted(LIMITS.mean_dsc)
    assert LIMITS.beyond_dsc == pytest.approx(1 - 0.49**3)
    assert LIMITS.beyond_dsc < LIMITS.slow_dsc < LIMITS.mean_dsc


def test_limits_are_of_the_first_cases() -> None:
    limits = limits_of([dsc_of(0.3), dsc_of(0.4), dsc_of(0.35)])
    assert (limits.mean, limits.sd, limits.cases) == pytest.approx((0.35, 0.05, 3))
    assert limits_of([1.0] * 20).sd == 0.01  # nobody changed any


def test_one_case_beyond_is_told_once_and_moves_no_mean() -> None:
    found = rules(0, 3.01, 0, 9, 0, -9)
    assert found == [(), (Rule.BEYOND,), (), (Rule.BEYOND,), (), ()]
    assert rules(2.99) == [()]


def test_nine_in_a_row_on_the_worse_side() -> None:
    assert rules(*[0.3] * 8, -0.1, *[0.3] * 8) == [()] * 17
    assert rules(*[0.3] * 18) == [*[()] * 8, (Rule.IN_A_ROW,), *[()] * 8, (Rule.IN_A_ROW,)]
    assert rules(*[-0.5] * 40) == [()] * 40
    # As far as the mean of 150 cases may be off itself.
    assert rules(*[0.1] * 40) == [()] * 40


def test_a_slow_mean_that_goes_too_far() -> None:
    mixed = [2.0, -0.1] * 14
    found = rules(*mixed)
    assert set(found) == {(), (Rule.SLOW,)}
    assert found.count((Rule.SLOW,)) == 1  # it begins to count anew
    assert rules(*[0.5, -0.5] * 100) == [()] * 200


Draw = Callable[[random.Random, float], float]


def bell(chance: random.Random, worse_sd: float) -> float:
    """DSC itself is normal, 0.955 (0.012)."""
    return min(1.0, chance.gauss(0.955 - worse_sd * 0.012, 0.012))


def skewed(chance: random.Random, worse_sd: float) -> float:
    """As agreement of livers is: 0.956 (0.936 to 0.976), with cases below 0.9."""
    return dsc_of(chance.gauss(LIMITS.mean + worse_sd * LIMITS.sd, LIMITS.sd))


@pytest.mark.parametrize("draw", [bell, skewed], ids=lambda one: one.__name__)
def test_500_steady_cases_raise_at_most_two_alarms_in_nine_runs_of_ten(draw: Draw) -> None:
    chance = random.Random(20261128)
    alarms = []
    for _ in range(RUNS):
        cases = [draw(chance, 0.0) for _ in range(IN_ALL)]
        points = chart(cases[FIRST:], limits_of(cases[:FIRST]))
        alarms.append(sum(bool(point.rules) for point in points))
    assert sum(one <= 2 for one in alarms) >= 0.9 * RUNS


@pytest.mark.parametrize("draw", [bell, skewed], ids=lambda one: one.__name__)
def test_a_mean_that_falls_by_one_standard_deviation_is_told_within_40_cases(draw: Draw) -> None:
    chance = random.Random(20261128)
    told = 0
    for _ in range(RUNS):
        limits = limits_of([draw(chance, 0.0) for _ in range(FIRST)])
        points = chart([draw(chance, 1.0) for _ in range(40)], limits)
        told += any(point.rules for point in points)
    assert told >= 0.95 * RUNS


def cases(*dsc: float, model: str = "a") -> list[Comparison]:
    return [
        replace(
            COMPARISON,
            series=f"{n:08x}-00000000-00000000-00000000-00000000",
            model_sha256=model * 64,
            time=NOON + timedelta(hours=n),
            agreement=replace(AGREEMENT, dsc=one),
        )
        for n, one in enumerate(dsc)
    ]


def test_limits_once_set_stay_and_judge_what_comes_after() -> None:
    first = cases(*[0.95, 0.96] * 10)
    [before] = charts_of(first, {})
    assert (before.limits, before.points, before.rules) == (None, (), ())
    assert limits_now(before, 21) is None
    limits = limits_now(before, 20)
    assert limits is not None
    kept = {"a" * 64: limits}
    every = cases(*[0.95, 0.96] * 10, 0.955, 0.7)
    [after] = charts_of(every, kept)
    assert [point.dsc for point in after.points] == [0.955, 0.7]
    assert after.rules == (Rule.BEYOND,)
    assert [point is None for _, point in after.told()] == [*[True] * 20, False, False]
    assert limits_now(after, 20) is None
    # The first cases were deleted with their studies: nothing is judged otherwise.
    [left] = charts_of(every[15:], kept)
    assert (left.limits, left.points) == (after.limits, after.points)
    # Somebody changed the setting.
    anew = limits_now(after, 22)
    assert isinstance(anew, ModelLimits)
    assert anew.limits.cases == 22


def test_each_model_has_a_chart_of_its_own() -> None:
    old, new = cases(0.9, 0.91), cases(0.95, 0.96, 0.97, model="b")
    charts = charts_of([*new, *old], {})
    assert [(one.model_sha256[0], len(one.cases)) for one in charts] == [("a", 2), ("b", 3)]
