"""From the probability of liver to closed contours in patient mm, on the CT's own slices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from liver_unet.liver import BORDER, is_liver
from liver_unet.volume import Grid, Volume

# Coordinates are rounded here to what the RTSTRUCT will say, so that the check sees what is
# written. 0.1 micrometre fits DICOM's 16-byte numbers out to 10 000 km.
_DECIMALS_MM = 4

# The contour crosses between two pixel centres where the probability, taken as linear, is 0.5.
# No probability counts as nearer to 0.5 than this: a crossing then stays at least 2 % of a pixel
# away from either centre, so neither rounding nor a reader's own arithmetic moves it across.
_MARGIN = 0.01

# What contourpy returns for FillType.OuterOffset: per region (n, 2) points (x, y), and where in
# them each ring starts, the outer one first.
_Outlines: TypeAlias = tuple[list[NDArray[np.float64]], list[NDArray[np.uint32]]]


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed planar contour; the last point is joined to the first without being repeated.

    slice_index: which of the slices, in the volume's order.
    points_mm: (n, 3) float64, n >= 3, LPS, rounded, on that slice's plane. A hole is joined to
    its outer ring by a bridge walked there and back (a keyhole).
    """

    slice_index: int
    points_mm: NDArray[np.float64]


def trace_contours(
    probability: NDArray[np.float32], grid: Grid, first_slice: int = 0
) -> list[Contour]:
    """Trace where the probability is 0.5; pixel centres above 0.5 come out inside, no others.

    probability: (slice, row, column) on grid, 0..1; beyond its border nothing is liver.
    first_slice: the series' slice that is the array's first, where grid is a box of the CT's.
    Contours come slice by slice; an island inside a hole is a contour of its own.
    """
    return [
        Contour(first_slice + index, points_on_slice(polygon, index, grid))
        for index, plane in enumerate(probability)
        for polygon in polygons_of(plane)
    ]


def on_own_slices(traced: Iterable[Contour], ct: Volume) -> list[Contour]:
    """Those that lie on the CT's own slices, and not on one interpolated between, renumbered."""
    own = {place: number for number, place in enumerate(ct.own_slices)}
    return [
        replace(one, slice_index=own[one.slice_index]) for one in traced if one.slice_index in own
    ]


def points_on_slice(polygon: NDArray[np.float64], index: int, grid: Grid) -> NDArray[np.float64]:
    """A contour's points in mm, rounded as they are written; polygon: (n, 2) (row, column)."""
    points = np.column_stack([np.full(len(polygon), float(index)), polygon])
    return np.round(grid.to_mm(points), _DECIMALS_MM) + 0.0  # + 0.0 turns -0.0 into 0.0


def polygons_of(plane: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Return one slice's contours as (n, 2) fractional (row, column)."""
    inside = is_liver(plane)
    if not inside.any():
        return []
    level = np.where(inside, plane.clip(BORDER + _MARGIN, 1), plane.clip(0, BORDER - _MARGIN))
    level = np.pad(level.astype(np.float64), 1)  # contours close half a pixel beyond the border
    generator = contour_generator(z=level, name="serial", fill_type=FillType.OuterOffset)
    outlines, ring_starts = cast(_Outlines, generator.filled(BORDER, np.inf))
    polygons = []
    for points, starts in zip(outlines, ring_starts, strict=True):
        rings = np.split(_on_pixel_lines(points[:, ::-1] - 1), starts[1:-1])
        outer, *holes = (ring[:-1] for ring in rings)  # contourpy repeats the first point
        polygons.append(_keyhole(outer, holes))
    return polygons


def _on_pixel_lines(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo the last bit of rounding in the coordinate that is a whole row or column."""
    whole = np.rint(points)
    return np.where(np.abs(points - whole) < 1e-9, whole, points)


def _keyhole(
    outer: NDArray[np.float64], holes: Iterable[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Join the holes to the outer ring, the nearest to what is joined so far first.

    In that order no bridge meets another hole on its way.
    """
    joined = outer
    waiting = [(_bridge(outer, hole)[0], hole) for hole in holes]
    while waiting:
        nearest = min(range(len(waiting)), key=lambda k: waiting[k][0])
        _, hole = waiting.pop(nearest)
        _, here, there = _bridge(joined, hole)
        round_trip = np.concatenate([hole[there:], hole[: there + 1]])
        joined = np.concatenate([joined[: here + 1], round_trip, joined[here:]])
        waiting = [(min(gap, _bridge(hole, other)[0]), other) for gap, other in waiting]
    return joined


def _bridge(ring: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, int, int]:
    """Return length and ends of the shortest bridge from a row's crossing to a column's.

    Both ends on rows, or both on columns, could put the bridge along a line of pixel centres,
    which readers that leave out what lies on a line would lose.
    """
    length = cdist(ring, other)
    length[np.equal.outer(_crosses_row(ring), _crosses_row(other))] = np.inf
    here, there = divmod(int(length.argmin()), len(other))
    return float(length[here, there]), here, there


def _crosses_row(ring: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points lie between two centres of one row; the others between two of a column."""
    return np.asarray(ring[:, 0] == np.rint(ring[:, 0]))
