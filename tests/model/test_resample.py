"""Resampling: values stay where they are in the patient, whatever the grids."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from numpy.typing import NDArray

from liver_unet.resample import block_averaged, canonical_grid, resample
from liver_unet.volume import Grid
from tests.support.grids import grids
from tests.support.phantom import ORIENTATIONS, Orientation, abdomen, oriented

FILL = -5000.0


def points_mm(grid: Grid) -> NDArray[np.float64]:
    return grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1).astype(np.float64))


def ramp(grid: Grid) -> NDArray[np.float32]:
    """A field that is linear in the patient, so linear interpolation must be exact."""
    value = (points_mm(grid) - grid.affine[:3, 3]) @ [3.0, -5.0, 2.0] + 100
    return np.asarray(value, dtype=np.float32)


def depth_inside(source: Grid, target: Grid) -> NDArray[np.float64]:
    """Index distance of the target's points from the source's outermost voxel centres, inwards."""
    index = source.to_index(points_mm(target))
    return np.asarray(np.minimum(index, np.array(source.shape) - 1 - index).min(axis=-1))


def oblique(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Grid:
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.eye(4)
    affine[:3, 0] = np.array([0.25, -s, c]) * spacing_mm[0]
    affine[:3, 1] = np.array([0, c, s]) * spacing_mm[1]
    affine[:3, 2] = np.array([-1, 0, 0]) * spacing_mm[2]
    affine[:3, 3] = 40, -70, 900
    return Grid(shape, affine)


@given(grids(min_slices=4), grids(min_slices=4))
@settings(max_examples=80)
def test_linear_field_is_exact_between_any_two_grids(source: Grid, other: Grid) -> None:
    """Law: interpolated inside, `fill` more than half a voxel outside."""
    fine = other.affine.copy()
    fine[:3, :3] *= source.spacing_mm.min() / other.spacing_mm.min()
    centre = (np.array(source.shape) - 1) / 2
    fine[:3, 3] = source.to_mm(centre) - fine[:3, :3] @ ((np.array(other.shape) - 1) / 2)
    target = Grid(other.shape, fine)
    values = resample(torch.from_numpy(ramp(source)), source, target, fill=FILL).numpy()
    expected = (points_mm(target) - source.affine[:3, 3]) @ [3.0, -5.0, 2.0] + 100
    depth = depth_inside(source, target)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(values[depth > 0.001], expected[depth > 0.001], atol=1e-4 * scale)
    assert (values[depth < -0.51] == FILL).all()
    assert (values[depth > -0.49] != FILL).all()


@given(grids())
def test_canonical_grid_is_upright_and_just_holds_the_source(source: Grid) -> None:
    """Law: cubic voxels to the head, back and left; no voxel centre outside, no row to spare."""
    grid = canonical_grid(source, 2.5)
    np.testing.assert_array_equal(grid.affine[:3, :3], 2.5 * np.eye(3)[::-1])
    index = grid.to_index(points_mm(source))
    assert (index >= -1e-6).all()
    assert (index <= np.array(grid.shape) - 1 + 1e-6).all()
    reach = index.reshape(-1, 3).max(axis=0) - index.reshape(-1, 3).min(axis=0)
    assert (np.array(grid.shape) - 1 - reach < 1).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_mask_comes_back_from_the_canonical_grid(orientation: Orientation) -> None:
    """Law: source -> canonical -> source gives the liver back, sheared and mirrored grids too."""
    phantom = oriented(abdomen((30, 90, 110), (8.0, 3.5, 3.3)), orientation)
    source = phantom.volume.grid
    canonical = canonical_grid(source, 2.0)
    there = resample(torch.from_numpy(phantom.liver), source, canonical, fill=0)
    back = resample(there, canonical, source, fill=0).numpy() > 0.5
    dice = 2 * (back & phantom.liver).sum() / (back.sum() + phantom.liver.sum())
    assert dice > 0.998
    assert there.sum().item() * canonical.voxel_ml == pytest.approx(
        phantom.liver.sum() * source.voxel_ml, rel=0.005
    )


def test_nearest_keeps_labels() -> None:
    source = oblique((12, 20, 17), (4.0, 1.4, 1.7))
    labels = np.random.default_rng(0).choice([0, 3, 7], source.shape).astype(np.uint8)
    target = canonical_grid(source, 1.1)
    values = resample(torch.from_numpy(labels), source, target, fill=9, nearest=True).numpy()
    assert set(np.unique(values)) == {0, 3, 7, 9}
    # A point well within a voxel takes that voxel's label.
    index = source.to_index(points_mm(target))
    near = np.rint(index).astype(int)
    sure = (np.abs(index - near).max(axis=-1) < 0.45) & (depth_inside(source, target) > 0)
    np.testing.assert_array_equal(values[sure], labels[tuple(near[sure].T)])


def test_block_average_stays_in_place_on_a_sheared_grid() -> None:
    source = oblique((5, 40, 33), (5.0, 0.7, 0.5))
    averaged, grid = block_averaged(torch.from_numpy(ramp(source)), source, 1.5)
    assert grid.shape == (5, 20, 11)
    np.testing.assert_allclose(grid.spacing_mm, source.spacing_mm * [1, 2, 3])
    expected = (points_mm(grid) - source.affine[:3, 3]) @ [3.0, -5.0, 2.0] + 100
    np.testing.assert_allclose(averaged.numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("slices", [1, 9, 10, 11, 12])
def test_blocks_are_averaged_slab_by_slab(slices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last slab holds less than a block."""
    source = oblique((slices, 7, 9), (0.4, 0.7, 1.1))
    whole, grid = block_averaged(torch.from_numpy(ramp(source)), source, 2.0)
    monkeypatch.setattr("liver_unet.resample._SLAB_VOXELS", 1)
    slabs, same_grid = block_averaged(torch.from_numpy(ramp(source)), source, 2.0)
    assert grid.shape == same_grid.shape == (-(-slices // 4), 4, 9)
    torch.testing.assert_close(slabs, whole, atol=0, rtol=0)


@pytest.mark.network
def test_the_source_is_never_held_whole_in_float32() -> None:
    """240 MiB of CT must not take twice that again; measured in a process of its own."""
    script = """
import resource, numpy as np, torch
from liver_unet.resample import canonical_grid, resample
from liver_unet.volume import Grid
grid = Grid((480, 512, 512), np.diag([0.8, 0.8, 1.5, 1.0])[[2, 1, 0, 3]])
ct = torch.from_numpy(np.ones(grid.shape, dtype=np.int16))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resample(ct, grid, canonical_grid(grid, 4.0), fill=0.0)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 160


def test_upright_and_nearly_upright_grids_give_the_same() -> None:
    """The one is interpolated along lines, the other in space."""
    c, s = np.cos(1e-4), np.sin(1e-4)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    upright = np.diag([1.3, -1.1, 2.5, 1.0])[[1, 2, 0, 3]]  # rows to the right, columns to the back
    turned = upright.copy()
    turned[:3, :3] = turn @ upright[:3, :3]
    shape = (14, 22, 19)
    data = torch.from_numpy(np.random.default_rng(3).normal(0, 100, shape).astype(np.float32))
    target = canonical_grid(Grid(shape, upright), 0.9)
    one = resample(data, Grid(shape, upright), target, fill=FILL)
    other = resample(data, Grid(shape, turned), target, fill=FILL)
    assert float((one - other).abs().quantile(0.95)) < 1.0


def test_fine_noise_is_averaged_before_it_is_sampled() -> None:
    source = oblique((6, 120, 120), (4.0, 0.5, 0.5))
    noise = np.random.default_rng(1).normal(0, 10, source.shape).astype(np.float32)
    target = canonical_grid(source, 2.0)
    values = resample(torch.from_numpy(noise), source, target, fill=FILL).numpy()
    assert values[depth_inside(source, target) > 0.1].std() < 3.0


def test_agrees_with_simpleitk_on_an_oblique_grid() -> None:
    affine = oblique((14, 30, 26), (3.0, 1.2, 1.3)).affine
    affine[:3, 0] = np.cross(affine[:3, 1], affine[:3, 2]) * 2.0
    source = Grid((14, 30, 26), affine)
    target = canonical_grid(source, 1.15)
    data = np.random.default_rng(2).normal(0, 100, source.shape).astype(np.float32)
    ours = resample(torch.from_numpy(data), source, target, fill=FILL).numpy()
    judge = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            as_simpleitk(data, source), as_simpleitk(ours, target), SimpleITK.Transform()
        )
    )
    inside = depth_inside(source, target) > 0.01
    assert inside.mean() > 0.15
    np.testing.assert_allclose(ours[inside], judge[inside], atol=0.05)


def as_simpleitk(array: NDArray[np.float32], grid: Grid) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array)
    spacing_mm = grid.spacing_mm[::-1]
    image.SetSpacing(spacing_mm.tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    image.SetDirection((grid.affine[:3, 2::-1] / spacing_mm).ravel().tolist())
    return image
