"""On which of evenly spaced planes each of a CT's slices lies: standard library only.

Slices may come in runs, each with a spacing of its own, as scanners reconstruct chest and abdomen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# How far a slice may lie from its plane. Some scanners round positions to 0.1 mm, which moves a
# point by up to 0.05 mm along each axis (0.09 mm oblique); thin slices are held to a share of their
# spacing, so that no missing or uneven slice can hide below the tolerance.
POSITION_TOLERANCE_MM = 0.1
POSITION_TOLERANCE_OF_SPACING = 0.15
# Fewer equal gaps than these may be what is left where slices are missing: a run has five slices.
_LEAST_GAPS = 4
# What spacings may have in common: 3 and 5 mm have a third of 3 mm.
_MOST_PARTS = 8
_NEAREST_PLANES_MM = 0.25


@dataclass(frozen=True)
class Run:
    """So many gaps of one spacing, one after the other."""

    gaps: int
    spacing_mm: float


@dataclass(frozen=True)
class Line:
    """Evenly spaced planes along the normal, and how far the slice furthest off lies from its."""

    first_mm: float
    step_mm: float
    off_mm: float

    def at(self, place: int) -> float:
        """Where a plane lies."""
        return self.first_mm + place * self.step_mm


def places_of(offsets_mm: Sequence[float]) -> list[int]:
    """The plane of each slice, given ascending: 0, 1, 2 ... but for runs of different spacing.

    Whether slices lie on their planes is for the caller to see: those that are missing are not.
    """
    even = list(range(len(offsets_mm)))
    runs = runs_of(offsets_mm)
    if len(runs) < 2 or not all(map(_is_whole, runs)):
        return even
    finest_mm = min(run.spacing_mm for run in runs)
    for parts in range(1, _MOST_PARTS + 1):
        if parts > 1 and finest_mm / parts < _NEAREST_PLANES_MM:
            break
        places = [0]
        for run in runs:
            step = round(run.spacing_mm * parts / finest_mm)
            places += [places[-1] + step * (n + 1) for n in range(run.gaps)]
        if line_through(offsets_mm, places).off_mm <= tolerance_mm(finest_mm):
            return places
    return even


def runs_of(offsets_mm: Sequence[float]) -> list[Run]:
    """Neighbouring gaps that differ by no more than rounding are of one run."""
    found: list[Run] = []
    for below, above in pairwise(offsets_mm):
        gap = above - below
        # Two positions, each off by its tolerance.
        if found and abs(gap - found[-1].spacing_mm) <= 2 * tolerance_mm(found[-1].spacing_mm):
            gaps = found[-1].gaps + 1
            mean_mm = found[-1].spacing_mm + (gap - found[-1].spacing_mm) / gaps
            found[-1] = Run(gaps, mean_mm)
        else:
            found.append(Run(1, gap))
    return found


def expected_gaps_mm(offsets_mm: Sequence[float]) -> list[float]:
    """What each gap should be: the spacing of the nearest run, else the lower median of all."""
    runs = runs_of(offsets_mm)
    gaps = sorted(above - below for below, above in pairwise(offsets_mm))
    # Half of the gaps may be too wide without hiding the real spacing.
    usual = [gaps[(len(gaps) - 1) // 2]]
    starts = [sum(run.gaps for run in runs[:n]) for n in range(len(runs))]
    whole = [(start, run) for start, run in zip(starts, runs, strict=True) if _is_whole(run)]
    expected = []
    for gap in range(len(gaps)):
        away = [max(start - gap, gap - (start + run.gaps - 1), 0) for start, run in whole]
        near = [
            run.spacing_mm for far, (_, run) in zip(away, whole, strict=True) if far == min(away)
        ]
        expected.append(min(near or usual))
    return expected


def _is_whole(run: Run) -> bool:
    return run.gaps >= _LEAST_GAPS


def line_through(offsets_mm: Sequence[float], places: Sequence[int]) -> Line:
    """The straight line of least squares, of which offsets are a function of places."""
    count = len(places)
    middle, centre = sum(places) / count, sum(offsets_mm) / count
    spread = sum((place - middle) ** 2 for place in places)
    pairs = list(zip(places, offsets_mm, strict=True))
    step = sum((place - middle) * offset for place, offset in pairs) / spread
    line = Line(centre - middle * step, step, 0.0)
    return Line(line.first_mm, step, max(abs(line.at(place) - one) for place, one in pairs))


def tolerance_mm(spacing_mm: float) -> float:
    """How far a slice may lie from its plane."""
    return min(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_OF_SPACING * spacing_mm)
