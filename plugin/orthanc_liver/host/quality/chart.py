"""A control chart of how well outlines agree, case by case. Arithmetic only.

What is charted is the cube root of 1 - DSC. DSC itself crowds at its upper end and trails off
below, so that three of its standard deviations are passed all the time; the cube root is nearly
normal (Wilson and Hilferty 1931), and takes an untouched copy, DSC 1, as it is. Every rule looks at
worse alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import fmean, stdev

BEYOND_SD = 3.0
IN_A_ROW = 9
# Of the slow mean: how much a new case counts, and how far it may go.
_WEIGHT = 0.1
SLOW_SD = 3.5 * sqrt(_WEIGHT / (2 - _WEIGHT))
# Outlines that nobody changed all agree alike.
_LEAST_SD = 0.01


class Rule(StrEnum):
    """What may be wrong."""

    BEYOND = "beyond"  # one case is worse than the mean by more than three standard deviations
    IN_A_ROW = "in a row"  # nine cases one after the other are worse than the mean can be
    SLOW = "slow mean"  # the mean that weighs the last cases most has gone too far


@dataclass(frozen=True)
class Limits:
    """Mean and standard deviation of what is charted, of so many first cases."""

    mean: float
    sd: float
    cases: int

    @property
    def worst_mean_sd(self) -> float:
        """How far the true mean may be from this one, in standard deviations: two of its errors."""
        return 2 / sqrt(self.cases)

    @property
    def mean_dsc(self) -> float:
        return dsc_of(self.mean)

    @property
    def beyond_dsc(self) -> float:
        """Below it a case is beyond."""
        return dsc_of(self.mean + BEYOND_SD * self.sd)

    @property
    def slow_dsc(self) -> float:
        """Below it the slow mean has gone too far."""
        return dsc_of(self.mean + SLOW_SD * self.sd)


@dataclass(frozen=True)
class Point:
    """One case after the first ones; slow_dsc: the slow mean with it; rules: that it breaks."""

    dsc: float
    slow_dsc: float
    rules: tuple[Rule, ...]


def charted(dsc: float) -> float:
    """What is charted of a case: the larger, the worse."""
    return float((1 - dsc) ** (1 / 3))


def dsc_of(value: float) -> float:
    """The DSC that is charted so; 0 where none is as bad."""
    return max(1 - max(value, 0.0) ** 3, 0.0)


def limits_of(first: Sequence[float]) -> Limits:
    """Of the DSC of the first cases, at least two."""
    values = [charted(one) for one in first]
    return Limits(fmean(values), max(stdev(values), _LEAST_SD), len(values))


def chart(dsc: Sequence[float], limits: Limits) -> list[Point]:
    """The cases after the first ones. Where a rule is broken it begins to count anew, so that one
    trouble is told once."""
    points = []
    in_a_row, slow = 0, 0.0
    for one in dsc:
        away_sd = (charted(one) - limits.mean) / limits.sd
        in_a_row = in_a_row + 1 if away_sd > limits.worst_mean_sd else 0
        # One gross case is told by the first rule, and shall not move the mean of many.
        slow += _WEIGHT * (min(away_sd, BEYOND_SD) - slow)
        found = {
            Rule.BEYOND: away_sd > BEYOND_SD,
            Rule.IN_A_ROW: in_a_row >= IN_A_ROW,
            Rule.SLOW: slow > SLOW_SD,
        }
        broken = tuple(rule for rule, is_broken in found.items() if is_broken)
        points.append(Point(one, dsc_of(limits.mean + slow * limits.sd), broken))
        in_a_row = 0 if found[Rule.IN_A_ROW] else in_a_row
        slow = 0.0 if found[Rule.SLOW] else slow
    return points
