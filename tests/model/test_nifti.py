"""NIfTI: what we write lies where it lay, for us, nibabel and SimpleITK."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.volume import Grid
from tests.support.grids import grids

# NIfTI holds its affine in single precision: 900 mm to about 0.0001 mm.
ATOL_MM = 2e-3
in_one_folder = settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def noise(grid: Grid) -> np.ndarray[tuple[int, int, int], np.dtype[np.int16]]:
    return np.random.default_rng(5).integers(-1024, 3000, grid.shape).astype(np.int16)


@given(grids(), st.sampled_from(["ct.nii", "ct.nii.gz"]))
@in_one_folder
def test_round_trip(tmp_path: Path, grid: Grid, name: str) -> None:
    """Law: read(write(array, grid)) == (array, grid), sheared and mirrored grids too."""
    write_nifti(tmp_path / name, noise(grid), grid)
    array, read_grid = read_nifti(tmp_path / name)
    np.testing.assert_array_equal(array, noise(grid))
    index = np.array([[0.0, 0, 0], np.array(grid.shape) - 1])
    np.testing.assert_allclose(read_grid.to_mm(index), grid.to_mm(index), atol=ATOL_MM)


@given(grids())
@in_one_folder
def test_nibabel_finds_each_voxel_in_ras(tmp_path: Path, grid: Grid) -> None:
    write_nifti(tmp_path / "ct.nii", noise(grid), grid)
    image = nib.nifti1.Nifti1Image.from_filename(tmp_path / "ct.nii")
    z, y, x = (n - 1 for n in grid.shape)
    assert image.dataobj[x, 0, z] == noise(grid)[z, 0, x]
    ras = image.affine @ [x, y, z, 1]
    lps = grid.to_mm(np.array([z, y, x], dtype=float))
    np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=ATOL_MM)


@given(grids(shear=0))
@in_one_folder
def test_simpleitk_finds_each_voxel_in_lps(tmp_path: Path, grid: Grid) -> None:
    write_nifti(tmp_path / "ct.nii", noise(grid), grid)
    judge = SimpleITK.ReadImage(str(tmp_path / "ct.nii"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(judge), noise(grid))
    for index in ([0, 0, 0], [n - 1 for n in grid.shape]):
        point = judge.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(point, grid.to_mm(np.array(index, dtype=float)), atol=ATOL_MM)


def test_scaled_file_gives_hu(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_slope_inter(2.0, -1000)
    data = np.zeros((4, 3, 2))
    data[1, 2, 0] = 500
    image = nib.Nifti1Image(data, np.diag([1, 2, 3, 1]), header)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "ct.nii")
    array, _ = read_nifti(tmp_path / "ct.nii")
    assert array.shape == (2, 3, 4)
    assert array[0, 2, 1] == pytest.approx(500)
    assert array.sum() == pytest.approx(500, abs=0.1)
