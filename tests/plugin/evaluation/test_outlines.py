"""A liver comes back as the same mask from RTSTRUCT, SEG and NIfTI, or is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from liver_unet.nifti import write_nifti
from liver_unet.volume import Grid
from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.rtstruct_reader import OutlineRefused
from orthanc_liver.evaluation.outlines import read_contour
from tests.support.case_writer import write_ct_folder, write_rtstruct, write_seg
from tests.support.phantom import Orientation, Phantom, oriented, small_abdomen


def on_grid_of(grid: Grid, phantom: Phantom) -> np.ndarray:
    """The phantom's liver where the same voxels lie in the order of another grid."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    there = phantom.volume.grid.to_index(grid.to_mm(index.astype(float)))
    return np.asarray(phantom.liver[tuple(np.moveaxis(np.rint(there).astype(int), -1, 0))])


@pytest.fixture(params=["HFS", "FFP", "oblique"])
def phantom(request: pytest.FixtureRequest) -> Phantom:
    orientation: Orientation = request.param
    return oriented(small_abdomen(), orientation)


def test_rtstruct_and_seg_by_name(phantom: Phantom, tmp_path: Path) -> None:
    slices = write_ct_folder(tmp_path / "ct", phantom, "named")
    grid = read_ct(tmp_path / "ct").volume.grid
    expected = on_grid_of(grid, phantom)
    write_rtstruct(tmp_path / "rs.dcm", slices, phantom.liver, "Liver manual")
    np.testing.assert_array_equal(read_contour(tmp_path / "rs.dcm", "liver", grid), expected)
    other = np.roll(phantom.liver, 3, axis=1)
    write_seg(tmp_path / "seg.dcm", slices, {"GTV": other, "Liver": phantom.liver})
    np.testing.assert_array_equal(read_contour(tmp_path / "seg.dcm", "^LIVER$", grid), expected)
    for name in ("rs.dcm", "seg.dcm"):
        with pytest.raises(OutlineRefused, match="named kidney"):
            read_contour(tmp_path / name, "kidney", grid)
    with pytest.raises(OutlineRefused, match="2 segments are named"):
        read_contour(tmp_path / "seg.dcm", "i|v", grid)


def test_nifti_along_other_axes(phantom: Phantom, tmp_path: Path) -> None:
    write_ct_folder(tmp_path / "ct", phantom, "axes")
    grid = read_ct(tmp_path / "ct").volume.grid
    expected = on_grid_of(grid, phantom)
    write_nifti(tmp_path / "mask.nii.gz", phantom.liver.astype(np.uint8), phantom.volume.grid)
    image = nibabel.load(tmp_path / "mask.nii.gz")
    assert isinstance(image, nibabel.nifti1.Nifti1Image)
    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    for name in ("mask.nii.gz", "turned.nii.gz"):
        np.testing.assert_array_equal(read_contour(tmp_path / name, "", grid), expected)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    phantom = small_abdomen()
    slices = write_ct_folder(tmp_path / "ct", phantom, "fits")
    grid = read_ct(tmp_path / "ct").volume.grid
    shifted = grid.affine.copy()
    shifted[2, 3] += grid.spacing_mm[0] / 2
    between = Grid(grid.shape, shifted)
    write_seg(tmp_path / "seg.dcm", slices, {"Liver": phantom.liver})
    write_rtstruct(tmp_path / "rs.dcm", slices, phantom.liver, "Liver")
    write_nifti(tmp_path / "mask.nii.gz", phantom.liver.astype(np.uint8), grid)
    for name in ("seg.dcm", "rs.dcm", "mask.nii.gz"):
        with pytest.raises(OutlineRefused):
            read_contour(tmp_path / name, "liver", between)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "seg.dcm").read_bytes()[:3000])
    (tmp_path / "text.nii").write_text("no image")
    write_nifti(tmp_path / "empty.nii.gz", np.zeros(grid.shape, dtype=np.uint8), grid)
    for name in ("cut.dcm", "text.nii", "empty.nii.gz", "missing.nii", "ct/000.dcm", "ct"):
        with pytest.raises(OutlineRefused, match=name):
            read_contour(tmp_path / name, "liver", grid)
