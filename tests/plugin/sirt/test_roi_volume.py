"""The volume inside contours: boxes and circles on oblique and tilted slices, holes, refusals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from liver_unet.volume import Grid
from orthanc_liver.sirt.inputs import ActivityRefused
from orthanc_liver.sirt.roi_volume import Outline, Point, Slices, outline, volumes_of
from tests.support.grids import grids

GRID = Grid((9, 40, 50), np.diag([4.0, 1.5, 1.2, 1.0])[[2, 1, 0, 3]])


UPRIGHT = [1.0, 0, 0, 0, 1, 0]


def slices_of(grid: Grid) -> Slices:
    row, column = (grid.affine[:3, axis] / grid.spacing_mm[axis] for axis in (2, 1))
    places = [grid.to_mm(np.array([n, 0.0, 0.0])) for n in range(grid.shape[0])]
    return Slices.of([*row, *column], [tuple(place) for place in places])


def box(grid: Grid, slice_index: float, low: float, high: float) -> list[Point]:
    index = [(low, low), (low, high), (high, high), (high, low)]
    points = [grid.to_mm(np.array([slice_index, *corner])) for corner in index]
    return [tuple(point) for point in points]


def drawn(contours: Sequence[Sequence[Point]]) -> Outline:
    return outline(contours, slices_of(GRID))


@settings(max_examples=30)
@given(grids())
def test_a_block_on_any_grid_has_its_voxels_volume(grid: Grid) -> None:
    """Tilted gantries too: the slices' distance is across the planes, not along the shear."""
    contours = [box(grid, n, -0.5, 1.5) for n in range(3)]
    expected = 3 * 2 * 2 * grid.voxel_ml
    assert outline(contours, slices_of(grid)).volume_ml == pytest.approx(expected, rel=1e-6)


def test_holes_and_islands_in_holes() -> None:
    contours = [box(GRID, 3, low, 40 - low) for low in (4.0, 9.0, 14.0)]
    contours.append(box(GRID, 3, 1.0, 3.0))  # beside them
    pixels = 32**2 - 22**2 + 12**2 + 2**2
    assert drawn(contours).volume_ml == pytest.approx(pixels * GRID.voxel_ml)
    assert drawn(contours[::-1]).volume_ml == pytest.approx(pixels * GRID.voxel_ml)


def test_more_holes_than_volume_are_told() -> None:
    """As where somebody's smoothed copy lies within an outline: a rim is left of it."""
    copied = [box(GRID, n, low, 38 - low) for n in (3, 4, 5) for low in (2.0, 3.5)]
    volumes, (warning,) = volumes_of({"LiverMl": drawn(copied)})
    assert volumes["LiverMl"] == pytest.approx(3 * (34**2 - 31**2) * GRID.voxel_ml)
    assert f"{3 * 31**2 * GRID.voxel_ml:.1f} mL lie in contours within contours" in warning
    with_hole = [box(GRID, n, low, 38 - low) for n in (3, 4, 5) for low in (2.0, 8.0)]
    assert volumes_of({"LiverMl": drawn(with_hole)})[1] == []


def test_a_keyhole_counts_its_hole_once() -> None:
    outer, hole = box(GRID, 2, 5.0, 25.0), box(GRID, 2, 10.0, 15.0)
    keyhole = [*outer, outer[0], *hole[::-1], hole[-1]]
    expected = (20**2 - 5**2) * GRID.voxel_ml
    assert drawn([keyhole]).volume_ml == pytest.approx(expected)


def test_a_circle() -> None:
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ring = [(30 + 11 * np.cos(a), 30 + 11 * np.sin(a), 8.0) for a in angles]
    expected = np.pi * 11**2 * 4.0 / 1000
    assert drawn([ring]).volume_ml == pytest.approx(expected, rel=1e-4)


def test_contours_between_slices_are_refused() -> None:
    for slice_index in (2.2, -1.0, 9.0):
        with pytest.raises(ActivityRefused, match="does not lie on the slices"):
            drawn([box(GRID, slice_index, 5.0, 9.0)])


def places(heights: Sequence[float]) -> list[Point]:
    return [(2.0, -7.0, height) for height in heights]


@pytest.mark.parametrize(
    "heights", [[0.0, 4, 8, 13], [0.0], [0.0, 0.01], [0.0, 4, 8, 16], [0, 0.5, 1.5]]
)
def test_uneven_slices_are_refused(heights: list[float]) -> None:
    with pytest.raises(ActivityRefused, match=r"not evenly spaced|fewer than two"):
        Slices.of(UPRIGHT, places(heights))


def test_what_the_reader_of_the_ct_takes_is_taken() -> None:
    """A duplicate is no slice of its own, and positions may be rounded to 0.1 mm."""
    assert Slices.of(UPRIGHT, places([8, 0, 4, 4, 12])).offsets_mm == pytest.approx((0, 4, 8, 12))
    rounded = Slices.of(UPRIGHT, places([round(1.25 * n, 1) for n in range(40)]))
    assert len(rounded.offsets_mm) == 40
    assert rounded.thickness_mm(1) == pytest.approx(1.25, abs=0.002)


def test_a_gap_is_told_and_refused_where_parts_are_thin() -> None:
    def of(*slices: int) -> Outline:
        return drawn([box(GRID, n, 5.0, 9.0) for n in slices])

    assert of(3, 4, 5).warnings == ()
    assert of(6).warnings == ()
    [warning] = of(0, 1, 2, 4, 5, 6).warnings
    assert "no contour on slice 4 (counted from 1)" in warning
    assert "no contour on slice 4-5 (c" in of(0, 1, 2, 5, 6, 7).warnings[0]
    assert of(0, 1, 2, 5, 6, 7).volume_ml == pytest.approx(6 * 4 * 4 * GRID.voxel_ml)
    for slices, missing in (((0, 2, 4, 6), "2, 4, 6"), ((0, 1, 3, 4, 5), "3"), ((1, 2, 3, 5), "5")):
        with pytest.raises(ActivityRefused, match=rf"no contour on slice {missing} \(counted"):
            of(*slices)


def test_two_overlapping_spheres_are_a_union() -> None:
    """Two of radius 11 and distance 8 mm: 2 V less the lens of the two, by its formula."""
    radius, apart, step = 11.0, 8.0, 0.25
    grid = Grid((120, 40, 50), np.diag([1.2, 1.5, step, 1.0]))
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    contours: list[list[Point]] = []
    for centre in (25.0, 25.0 + apart):
        for n in range(5, 109):
            height = n * step
            squared = radius**2 - (height - 14.0) ** 2
            if squared > 0:
                r = np.sqrt(squared)
                contours.append(
                    [(centre + r * np.cos(a), 30 + r * np.sin(a), height) for a in angles]
                )
    ball = 4 / 3 * np.pi * radius**3
    lens = np.pi * (4 * radius + apart) * (2 * radius - apart) ** 2 / 12
    found = outline(contours, slices_of(Grid(grid.shape, grid.affine[:, [2, 1, 0, 3]])))
    assert found.volume_ml == pytest.approx((2 * ball - lens) / 1000, rel=2e-3)


def test_repeats_count_once_and_points_not_at_all() -> None:
    once = [box(GRID, n, 5.0, 9.0) for n in (3, 4, 5)]
    assert drawn([*once, *once]).volume_ml == pytest.approx(drawn(once).volume_ml)
    assert drawn([*once, once[1]]).volume_ml == pytest.approx(drawn(once).volume_ml)
    dotted = drawn([*once, once[0][:1], once[0][:2]])
    assert dotted.volume_ml == pytest.approx(drawn(once).volume_ml)
    assert dotted.warnings == ("2 contours of one or two points were left out",)


def test_what_lies_in_another_outline() -> None:
    liver = drawn([box(GRID, n, 2.0, 22.0) for n in range(1, 6)])
    tumour = drawn([box(GRID, n, 17.0, 27.0) for n in range(4, 9)])
    assert tumour.volume_within_ml(liver) == pytest.approx(2 * 5 * 5 * GRID.voxel_ml)
    assert drawn([box(GRID, 7, 3.0, 9.0)]).volume_within_ml(liver) == 0
