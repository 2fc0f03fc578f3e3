"""Where voxels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liver_unet.volume import Grid, Volume, box_of, fullest_sections
from tests.support.grids import grids


def test_axes_by_hand() -> None:
    """Slices 5 mm apart to the head, rows 2 mm to the back, columns 1.5 mm to the left."""
    affine = np.array([[0, 0, 1.5, -10], [0, 2, 0, -20], [5, 0, 0, 30], [0, 0, 0, 1.0]])
    grid = Grid((4, 6, 8), affine)
    assert grid.to_mm(np.array([3.0, 2, 1])).tolist() == [-8.5, -16, 45]
    assert grid.to_index(np.array([-8.5, -16, 45])).tolist() == [3, 2, 1]
    assert grid.spacing_mm.tolist() == [5, 2, 1.5]
    assert grid.voxel_ml == pytest.approx(0.015)


@given(grids(), st.integers(0, 1000))
def test_index_to_mm_and_back_is_the_identity(grid: Grid, seed: int) -> None:
    """Law: to_index(to_mm(i)) == i on oblique, mirrored and sheared grids, fractions too."""
    index = np.random.default_rng(seed).uniform(-50, 600, (20, 3))
    np.testing.assert_allclose(grid.to_index(grid.to_mm(index)), index, atol=1e-8)


@given(grids())
def test_shear_leaves_the_voxel_volume(grid: Grid) -> None:
    """Law: a voxel's volume is its face times the distance between the slices' planes."""
    normal = np.cross(grid.affine[:3, 1], grid.affine[:3, 2])
    face_mm2 = np.linalg.norm(normal)
    apart_mm = abs(normal @ grid.affine[:3, 0]) / face_mm2
    assert grid.voxel_ml == pytest.approx(face_mm2 * apart_mm / 1000)


@given(grids(), st.data())
def test_cropping_moves_nothing(grid: Grid, data: st.DataObject) -> None:
    """Law: voxel i of the crop is voxel start + i of the whole."""
    starts = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    stops = [data.draw(st.integers(a + 1, n)) for a, n in zip(starts, grid.shape, strict=True)]
    z, y, x = (slice(a, b) for a, b in zip(starts, stops, strict=True))
    crop = grid.cropped((z, y, x))
    assert crop.shape == np.empty(grid.shape)[z, y, x].shape
    index = np.array([[0.0, 0, 0], [1, 2, 3]])
    np.testing.assert_allclose(crop.to_mm(index), grid.to_mm(index + starts), atol=1e-9)


def test_what_is_no_grid_is_an_error() -> None:
    flat = np.diag([1.0, 1, 0, 1])
    with pytest.raises(ValueError, match="invertible"):
        Grid((2, 3, 4), flat)
    with pytest.raises(ValueError, match="finite"):
        Grid((2, 3, 4), np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="shape"):
        Volume(np.zeros((2, 3, 5), dtype=np.int16), Grid((2, 3, 4), np.eye(4)))


@given(grids(), st.floats(0, 3))
def test_the_corners_hold_all_voxels_and_each_is_one(grid: Grid, beyond: float) -> None:
    """Law: as indices they are the ends of every axis, `beyond` further out."""
    index = grid.to_index(grid.corners_mm(beyond))
    ends = {tuple(row) for row in np.round(index / (np.array(grid.shape) - 1 + beyond), 6) > 0.5}
    assert len(ends) == 8
    np.testing.assert_allclose(index.min(axis=0), -beyond, atol=1e-6)
    np.testing.assert_allclose(index.max(axis=0), np.array(grid.shape) - 1 + beyond, atol=1e-6)


@given(grids(), st.integers(0, 1000), st.integers(0, 2))
def test_a_box_around_points_is_the_smallest_that_holds_them(
    grid: Grid, seed: int, margin: int
) -> None:
    """Law: around voxels' centres it is their mask's box, as far as the grid goes."""
    random = np.random.default_rng(seed)
    voxels = random.integers(0, grid.shape, (3, 3)).astype(np.float64)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(voxels.T.astype(int))] = True
    inward = np.where(voxels == 0, 0.01, -0.01)  # off the centre, where rounding decides
    box = grid.box_around(grid.to_mm(voxels + inward), margin)
    rim = grid.box_around(grid.to_mm(voxels + inward))
    wider = [
        slice(max(one.start - margin, 0), min(one.stop + margin, size))
        for one, size in zip(rim, grid.shape, strict=True)
    ]
    assert list(box) == wider
    for one, exact in zip(rim, box_of(mask), strict=True):
        assert exact.start - 1 <= one.start <= exact.start
        assert exact.stop <= one.stop <= exact.stop + 1


def test_a_box_around_what_lies_outside_is_never_empty() -> None:
    grid = Grid((4, 6, 8), np.diag([2.0, 3.0, 1.0, 1.0]))
    far = grid.to_mm(np.array([[-9.0, 30.0, 2.5], [-7.0, 40.0, 2.5]]))
    assert grid.box_around(far) == (slice(0, 1), slice(5, 6), slice(2, 4))


def test_the_sections_that_hold_most() -> None:
    mask = np.zeros((4, 6, 8), dtype=bool)
    mask[2, 1:5, 3:7] = True
    mask[:, 4, 6] = True
    mask[1:3, :, 6] = True
    assert fullest_sections(mask) == (2, 4, 6)
