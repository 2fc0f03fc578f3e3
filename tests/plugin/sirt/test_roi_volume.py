"""The volume inside contours: boxes and circles on oblique and tilted slices, holes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from liver_unet.volume import Grid
from orthanc_liver.sirt.inputs import ActivityRefused
from orthanc_liver.sirt.roi_volume import Point, Slices, volume_ml
from tests.support.grids import grids

GRID = Grid((9, 40, 50), np.diag([4.0, 1.5, 1.2, 1.0])[[2, 1, 0, 3]])


def slices_of(grid: Grid) -> Slices:
    row, column = (grid.affine[:3, axis] / grid.spacing_mm[axis] for axis in (2, 1))
    places = [grid.to_mm(np.array([n, 0.0, 0.0])) for n in range(grid.shape[0])]
    return Slices.of([*row, *column], [tuple(place) for place in places])


def box(grid: Grid, slice_index: float, low: float, high: float) -> list[Point]:
    index = [(low, low), (low, high), (high, high), (high, low)]
    points = [grid.to_mm(np.array([slice_index, *corner])) for corner in index]
    return [tuple(point) for point in points]


@settings(max_examples=30)
@given(grids())
def test_a_block_on_any_grid_has_its_voxels_volume(grid: Grid) -> None:
    """Tilted gantries too: the slices' distance is across the planes, not along the shear."""
    contours = [box(grid, n, -0.5, 1.5) for n in range(3)]
    expected = 3 * 2 * 2 * grid.voxel_ml
    assert volume_ml(contours, slices_of(grid)) == pytest.approx(expected, rel=1e-6)


def test_holes_and_islands_in_holes() -> None:
    contours = [box(GRID, 3, low, 40 - low) for low in (4.0, 9.0, 14.0)]
    contours.append(box(GRID, 3, 1.0, 3.0))  # beside them
    pixels = 32**2 - 22**2 + 12**2 + 2**2
    assert volume_ml(contours, slices_of(GRID)) == pytest.approx(pixels * GRID.voxel_ml)
    assert volume_ml(contours[::-1], slices_of(GRID)) == pytest.approx(pixels * GRID.voxel_ml)


def test_a_keyhole_counts_its_hole_once() -> None:
    outer, hole = box(GRID, 2, 5.0, 25.0), box(GRID, 2, 10.0, 15.0)
    keyhole = [*outer, outer[0], *hole[::-1], hole[-1]]
    expected = (20**2 - 5**2) * GRID.voxel_ml
    assert volume_ml([keyhole], slices_of(GRID)) == pytest.approx(expected)


def test_a_circle() -> None:
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ring = [(30 + 11 * np.cos(a), 30 + 11 * np.sin(a), 8.0) for a in angles]
    expected = np.pi * 11**2 * 4.0 / 1000
    assert volume_ml([ring], slices_of(GRID)) == pytest.approx(expected, rel=1e-4)


def test_contours_between_slices_are_refused() -> None:
    for slice_index in (2.2, -1.0, 9.0):
        with pytest.raises(ActivityRefused, match="does not lie on the slices"):
            volume_ml([box(GRID, slice_index, 5.0, 9.0)], slices_of(GRID))


def test_uneven_slices_are_refused() -> None:
    orientation = [1.0, 0, 0, 0, 1, 0]
    for heights in ([0.0, 4, 8, 13], [0.0], [0.0, 0.0]):
        with pytest.raises(ActivityRefused, match="not evenly spaced"):
            Slices.of(orientation, [(0.0, 0.0, height) for height in heights])
