"""What polygons enclose: worked areas, and random ones against counting points of a fine raster."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orthanc_liver.sirt.planar import (
    Flat,
    comparisons,
    crosses_itself,
    enclosed,
    polygon,
    regions,
    shared,
)

BOX = [(1.0, 2.0), (9.0, 2.0), (9.0, 7.0), (1.0, 7.0)]
HOLE = [(3.0, 3.0), (3.0, 5.0), (6.0, 5.0), (6.0, 3.0)]


def moved(points: Sequence[Flat], x: float, y: float = 0.0) -> list[Flat]:
    return [(px + x, py + y) for px, py in points]


def circle(points: int, radius: float, turned: float = 0.0) -> list[Flat]:
    angles = [turned + 2 * math.pi * n / points for n in range(points)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def test_comparisons_grow_with_what_lies_over_each_other() -> None:
    """What `area` would do for so many circles is told without doing it."""
    assert comparisons([polygon(BOX)]) == 2 * 2
    assert comparisons([polygon(BOX), polygon(moved(BOX, 20))]) == 4 * 4
    assert comparisons([polygon(BOX), polygon(moved(BOX, 0, 20))]) == 2 * 2 * 2
    assert 2_000 > comparisons([polygon(circle(500, 90, 0.1))]) > 1_000
    many = [polygon(circle(500, 2, n / 1000)) for n in range(40)]
    assert comparisons(many) > 100_000_000


def measured(*drawn: Sequence[Flat], exclusive: bool = False) -> float:
    return enclosed(regions([polygon(points) for points in drawn], exclusive=exclusive))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("drawn", "area"),
    [
        ([BOX], 40),
        ([BOX, HOLE], 34),
        ([BOX, HOLE, [(4.0, 3.5), (5.0, 3.5), (5.0, 4.5)]], 34.5),
        ([BOX, moved(BOX, 20)], 80),
        ([BOX, moved(BOX, 3, 1)], 80 - 20),  # what both hold counts once
        ([BOX, moved(BOX, 3)], 80 - 25),  # two sides on one line
        ([BOX, moved(BOX, 8)], 80),  # a side in common
        ([BOX, moved(BOX, 3), moved(BOX, 6)], 40 + 15 + 15),
        ([BOX, BOX], 40),
        ([BOX, [*BOX[2:], *BOX[:2]]], 40),
        ([BOX, BOX[::-1], HOLE, HOLE], 34),
        ([[*BOX, *BOX]], 40),
        ([[*BOX, BOX[0], *BOX, BOX[0]]], 40),
        ([[*BOX, BOX[0], *HOLE, HOLE[0]]], 34),
        ([[*BOX, BOX[0], *HOLE[::-1], HOLE[-1]]], 34),
        ([[(0.0, 0.0), (8.0, 6.0), (8.0, 0.0), (0.0, 6.0)]], 24),  # a figure of eight
        ([[(0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]], 0),
        ([[(2.0, 2.0)] * 5], 0),
        ([], 0),
    ],
)
def test_worked_areas(drawn: list[list[Flat]], area: float, reverse: bool) -> None:
    turned = [points[::-1] for points in drawn[::-1]] if reverse else drawn
    assert measured(*turned) == pytest.approx(area)
    assert measured(*[[(y, x) for x, y in points] for points in turned]) == pytest.approx(area)


def halved(points: Sequence[Flat]) -> list[Flat]:
    """The same path in twice as many steps."""
    ends = zip(points, [*points[1:], *points[:1]], strict=True)
    return [p for a, b in ends for p in (a, ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2))]


ROUND = [(x + 3.0, y + 2.0) for x, y in circle(64, 20)]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    "again",
    [
        halved(ROUND),
        [(round(x, 1), round(y, 1)) for x, y in ROUND],
        ROUND[:9] + ROUND[10:],
        [(x + 3.0, y + 2.0) for x, y in circle(90, 20, 0.02)],
        [(x + 3.0, y + 2.0) for x, y in circle(64, 19.95)],
    ],
)
def test_a_repeat_in_other_steps_is_no_hole(again: list[Flat], exclusive: bool) -> None:
    """What it leaves of the first is a rim that nobody drew; 0 of 1255 mm2 were counted."""
    for drawn, area in (
        ([ROUND, again], 1254),
        ([again, ROUND], 1254),
        ([ROUND, HOLE, again], 1248),
    ):
        assert measured(*drawn, exclusive=exclusive) == pytest.approx(area, abs=8)


def test_a_thin_wall_is_one() -> None:
    inner = [(x + 3.0, y + 2.0) for x, y in circle(64, 19)]
    assert measured(ROUND, inner) == pytest.approx(math.pi * (20**2 - 19**2), rel=0.01)


def test_exclusive_contours_take_away_what_both_hold() -> None:
    assert measured(BOX, moved(BOX, 3, 1), exclusive=True) == pytest.approx(80 - 40)
    assert measured(BOX, HOLE, exclusive=True) == pytest.approx(34)


def test_a_path_that_crosses_itself_is_told_from_one_that_does_not() -> None:
    eight = [(0.0, 0.0), (8.0, 6.0), (8.0, 0.0), (0.0, 6.0)]
    assert crosses_itself(polygon(eight))
    assert crosses_itself(polygon([*BOX, BOX[0], *HOLE[::-1], HOLE[-1]]))
    for plain in (BOX, BOX[::-1], [*BOX, *BOX], [*BOX, BOX[0], *HOLE, HOLE[0]], []):
        assert not crosses_itself(polygon(plain))


def test_what_two_outlines_share() -> None:
    outer = regions([polygon(BOX), polygon(HOLE)])
    assert shared(outer, regions([polygon(moved(BOX, 4))])) == pytest.approx(4 * 5 - 1 * 2)
    assert shared(outer, outer) == pytest.approx(34)
    assert shared(outer, regions([polygon(moved(BOX, 30))])) == 0


def star(x: float, y: float, radii: Sequence[float]) -> list[Flat]:
    turn = 2 * math.pi / len(radii)
    return [(x + r * math.cos(n * turn), y + r * math.sin(n * turn)) for n, r in enumerate(radii)]


STARS = st.lists(
    st.builds(
        star,
        st.floats(-8, 8),
        st.floats(-5, 5),
        st.lists(st.floats(1.5, 7), min_size=3, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def inside(points: Sequence[Flat], grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Even-odd for every point of a raster: (x or y, row, column)."""
    x, y = grid
    found = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            found ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return np.asarray(found)


@settings(max_examples=30, deadline=None)
@given(STARS)
def test_exclusive_areas_are_those_of_a_raster(drawn: list[list[Flat]]) -> None:
    assume(len({tuple(points) for points in drawn}) == len(drawn))  # repeats count once
    step = 0.05
    grid = np.array(np.meshgrid(np.arange(-15.013, 16, step), np.arange(-12.007, 13, step)))
    expected = np.zeros(grid.shape[1:], dtype=bool)
    for points in drawn:
        expected ^= inside(points, grid)
    around = sum(math.dist(a, b) for p in drawn for a, b in zip(p, [*p[1:], p[0]], strict=True))
    found = measured(*drawn, exclusive=True)
    assert found == pytest.approx(expected.sum() * step**2, abs=step * around)
