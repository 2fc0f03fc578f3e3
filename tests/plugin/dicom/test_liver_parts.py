"""A liver cut by a plane or by lassos: a partition on every grid, with right on the right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.contours import Contour, trace_contours
from orthanc_liver.dicom.liver_parts import CutRefused, border_of, parts_of, trace_part
from orthanc_liver.engine.protocol import LEFT_LOBE, NOT_PERFUSED, RIGHT_LOBE, Cut

Mask = NDArray[np.bool_]
SHAPE = (9, 34, 41)
SPACING_MM = (5.0, 3.1, 2.3)
# The way in which slices, rows and columns run: head first, feet first, prone, mirrored, sagittal.
AXES = {
    "head first": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "feet first": ((0, 0, -1), (0, 1, 0), (-1, 0, 0)),
    "prone": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "mirrored": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


def ct(axes: str = "head first", turned_deg: float = 0.0, lean: float = 0.0) -> Volume:
    """A CT of nothing; lean: mm along the rows' direction from slice to slice, as of a gantry."""
    turn = Rotation.from_euler("zyx", [turned_deg, -turned_deg / 2, turned_deg / 3], degrees=True)
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() @ np.array(AXES[axes], dtype=float).T * SPACING_MM
    affine[:3, 0] += lean * affine[:3, 1] / SPACING_MM[1]
    affine[:3, 3] = (-40.0, 22.0, 310.0)
    return Volume(np.zeros(SHAPE, dtype=np.int16), Grid(SHAPE, affine))


def liver() -> Mask:
    """Bent, off the centre, with a hole."""
    z, y, x = np.indices(SHAPE)
    mask = ((z - 4) / 4) ** 2 + ((y - 15) / 12) ** 2 + ((x - 18 - z) / 14) ** 2 < 1
    mask[3:6, 10:13, 14:18] = False
    return np.asarray(mask)


def plane(volume: Volume, *points: tuple[float, float, float]) -> Cut:
    """Through points that are given as slice, row and column."""
    return Cut(plane=tuple(volume.grid.to_mm(np.array(points)).ravel().tolist()))


def lasso(volume: Volume, number: int, *corners: tuple[float, float]) -> tuple[float, ...]:
    """On a slice, around (row, column)."""
    index = np.array([(number, *one) for one in corners], dtype=float)
    return tuple(volume.grid.to_mm(index).ravel().tolist())


def square(volume: Volume, number: int, middle: float, half: float) -> tuple[float, ...]:
    low, high = middle - half, middle + half
    return lasso(volume, number, (low, low), (low, high), (high, high), (high, low))


def check_partition(parts: dict[str, Mask], mask: Mask) -> None:
    """Each voxel of the liver is in one part, and nothing else is in any."""
    assert np.array_equal(sum(part.astype(int) for part in parts.values()), mask.astype(int))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("turned_deg", [0.0, 24.0])
@pytest.mark.parametrize("lean", [0.0, 1.4])
def test_the_right_lobe_lies_to_the_patients_right(
    axes: str, turned_deg: float, lean: float
) -> None:
    volume = ct(axes, turned_deg, lean)
    grid, mask = volume.grid, liver()
    at = np.argwhere(mask)
    middle_mm = grid.to_mm(at.astype(float)).mean(axis=0)
    # In the patient: upright, and turned about the body's axis as Cantlie's line is.
    points_mm = middle_mm + np.array([(0.0, 0.0, 0.0), (0.0, 0.0, 14.0), (9.0, 20.0, 0.0)])
    for order in itertools.permutations(points_mm.tolist()):
        parts = parts_of(mask, volume, Cut(plane=tuple(itertools.chain(*order))))
        assert list(parts) == [RIGHT_LOBE, LEFT_LOBE]
        check_partition(parts, mask)
        right, left = (grid.to_mm(np.argwhere(one).astype(float)) for one in parts.values())
        normal = np.array([-20.0, 9.0, 0.0])  # towards the right, which is where x is small
        assert ((right - middle_mm) @ normal >= -1e-6).all()
        assert ((left - middle_mm) @ normal < 1e-6).all()
        assert right[:, 0].mean() < left[:, 0].mean()


@given(
    mask=arrays(np.bool_, SHAPE),
    points=arrays(np.float64, (3, 3), elements=st.floats(0, 8)),
    axes=st.sampled_from(sorted(AXES)),
    turned_deg=st.floats(-40, 40),
)
@settings(max_examples=60, deadline=None)
def test_any_plane_parts_any_mask_exactly_or_is_refused(
    mask: Mask, points: NDArray[np.float64], axes: str, turned_deg: float
) -> None:
    volume = ct(axes, turned_deg)
    try:
        parts = parts_of(mask, volume, plane(volume, *map(tuple, points * (1, 4, 5))))
    except CutRefused:
        return
    check_partition(parts, mask)
    assert all(part.any() for part in parts.values())


@given(
    mask=arrays(np.bool_, SHAPE),
    drawn=st.lists(
        st.tuples(st.integers(0, 8), st.floats(4, 29), st.floats(0.3, 12)), min_size=2, max_size=5
    ),
    other=st.lists(st.tuples(st.integers(0, 8), st.floats(4, 29), st.floats(0.3, 12)), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_any_lassos_part_any_mask_exactly_or_are_refused(
    mask: Mask, drawn: list[tuple[int, float, float]], other: list[tuple[int, float, float]]
) -> None:
    volume = ct("feet first", 15.0)
    inside = [
        tuple(square(volume, n, min(max(middle, half), 33 - half), half) for n, middle, half in one)
        for one in (drawn, other)
        if one
    ]
    try:
        parts = parts_of(mask, volume, Cut(lassos=tuple(inside)))
    except CutRefused:
        return
    assert list(parts) == [*(f"Perfused {n}" for n in range(1, len(inside) + 1)), NOT_PERFUSED]
    check_partition(parts, mask)
    slices = [n for n, _, _ in drawn]
    assert not parts["Perfused 1"][: min(slices)].any()
    assert not parts["Perfused 1"][max(slices) + 1 :].any()


def test_between_drawn_slices_a_lasso_goes_from_one_to_the_other() -> None:
    volume, everything = ct(turned_deg=10.0), np.ones(SHAPE, dtype=bool)
    ends = (square(volume, 1, 15, 3.4), square(volume, 7, 15, 9.4))
    region = parts_of(everything, volume, Cut(lassos=(ends,)))["Perfused 1"]
    rows = [int(one[:, 15].sum()) for one in region]
    assert rows == [0, 7, 9, 11, 13, 15, 17, 19, 0]
    beside = (*ends, square(volume, 4, 15, 0.9))
    narrowed = parts_of(everything, volume, Cut(lassos=(beside,)))["Perfused 1"]
    assert int(narrowed[4][:, 15].sum()) == 1
    assert np.array_equal(narrowed[[1, 7]], region[[1, 7]])


def test_two_lassos_on_one_slice_are_one_region_and_the_first_region_counts() -> None:
    volume, everything = ct(), np.ones(SHAPE, dtype=bool)
    apart = tuple(square(volume, n, middle, 2.4) for n in (2, 5) for middle in (6, 25))
    whole = tuple(square(volume, n, 15, 14.4) for n in (2, 5))
    parts = parts_of(everything, volume, Cut(lassos=(apart, whole)))
    assert parts["Perfused 1"][4].sum() == 2 * 25
    assert parts["Perfused 2"][4].sum() == 29**2 - 2 * 25


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (plane(ct(), (1, 5, 5), (4, 15, 15), (7, 25, 25.4)), "almost on one line"),
        (plane(ct(), (4, 5, 5), (4, 5, 30), (4, 25, 9)), "does not separate right from left"),
        (plane(ct(), (1, 5, 5), (4, 15, 55), (7, 25, 9)), "outside the CT's images"),
        (plane(ct(), (1, 2, 40), (7, 2, 40), (4, 30, 40)), "nothing of the liver is left"),
        (Cut(lassos=((square(ct(), 4, 15, 5),),)), "at least two slices"),
        (Cut(lassos=((square(ct(), 4, 15.5, 0.2), square(ct(), 6, 15, 5)),)), "hold pixels"),
        (Cut(lassos=((square(ct(), 0, 16, 16), square(ct(), 8, 16, 16)),)), "'Not perfused'"),
        (Cut(lassos=(((*lasso(ct(), 3, (5, 5), (9, 9), (5, 9))[:-1], 400.0),),)), "outside the"),
        (Cut(lassos=((plane(ct(), (1, 5, 5), (2, 9, 9), (3, 5, 9)).plane,),)), "draw it on a"),
    ],
)
def test_what_leaves_no_parts_is_refused(cut: Cut, sentence: str) -> None:
    mask = liver() if "Not perfused" not in sentence else liver() & (np.arange(41) < 32)
    with pytest.raises(CutRefused, match=sentence):
        parts_of(mask, ct(), cut)


def area_px(contours: list[Contour], grid: Grid) -> float:
    """With the sign of the way round; a hole hangs on its contour and counts against it."""
    total = 0.0
    for one in contours:
        _, row, column = grid.to_index(one.points_mm).T
        total += abs(float(row @ np.roll(column, -1) - column @ np.roll(row, -1))) / 2
    return total


def test_the_contours_of_parts_follow_the_livers_own() -> None:
    """trace_part itself has other code rasterise them, and raises where that is not the part."""
    volume, mask = ct("prone", 17.0, 1.1), liver()
    rng = np.random.default_rng(8)
    probability = np.where(mask, rng.uniform(0.6, 1, SHAPE), rng.uniform(0, 0.4, SHAPE))
    whole = trace_contours(probability.astype(np.float32), volume.grid)
    border = border_of([one.points_mm for one in whole], volume.grid)
    again = trace_part(mask, volume, border)
    assert area_px(again, volume.grid) == pytest.approx(area_px(whole, volume.grid), abs=0.01)
    z, y, x = np.argwhere(mask).mean(axis=0)
    parts = parts_of(mask, volume, plane(volume, (z, y, x), (z + 4, y + 1, x), (z, y + 9, x + 7)))
    traced = [trace_part(part, volume, border) for part in parts.values()]
    for part, contours in zip(parts.values(), traced, strict=True):
        slices = {one.slice_index for one in contours}
        assert slices == set(np.flatnonzero(part.any(axis=(1, 2))).tolist())
    lost = area_px(whole, volume.grid) - sum(area_px(one, volume.grid) for one in traced)
    assert 0 <= lost < SHAPE[0]  # where border and cut meet, less than a pixel a slice
