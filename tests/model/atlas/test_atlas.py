"""The atlas on made-up patients: found again from other patients of other size and place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from liver_unet.atlas.leave_one_out import leave_one_out
from liver_unet.atlas.library import build_library, read_library
from liver_unet.atlas.vote import outline
from liver_unet.model_errors import AtlasRefused
from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.volume import Grid, Volume
from tests.support.phantom import Phantom, abdomen, oriented

pytestmark = pytest.mark.network


def patient(seed: int, size: float, shift_mm: float) -> Phantom:
    """A phantom scaled and moved in space, as no two scans have one origin."""
    phantom = abdomen((30, 70, 92), (10.0, 4.6, 4.2), seed)
    affine = phantom.volume.grid.affine * size
    affine[:3, 3] += shift_mm
    affine[3, 3] = 1
    return replace(phantom, volume=Volume(phantom.volume.hu, Grid(phantom.liver.shape, affine)))


def dsc(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def write_case(folder: Path, phantom: Phantom, liver: np.ndarray) -> None:
    folder.mkdir(parents=True)
    grid = phantom.volume.grid
    write_nifti(folder / "ct.nii.gz", phantom.volume.hu.astype(np.int16), grid)
    write_nifti(folder / "liver.nii.gz", liver.astype(np.uint8), grid)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, the second with a wrong outline, for what is learnt from it to be seen."""
    folder = tmp_path_factory.mktemp("data")
    true, wrong = patient(1, 0.93, 40.0), patient(2, 1.05, -300.0)
    write_case(folder / "a", true, true.liver)
    write_case(folder / "b", wrong, np.roll(wrong.liver, 12, axis=2))
    return folder


@pytest.fixture(scope="module")
def library(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    assert build_library(data, folder) == 2
    return folder


def test_a_new_patient_is_outlined_on_its_own_grid(library: Path) -> None:
    # cut below the ribs and lying feet first: the atlas shows more of the body than the CT does
    whole = oriented(patient(4, 1.03, 25.0), "FFS")
    ct, truth = whole.volume.hu[:26], whole.liver[:26]
    _, rows, columns = ct.shape
    grid = whole.volume.grid.cropped((slice(0, 26), slice(0, rows), slice(0, columns)))
    atlases = [one for one in read_library(library) if one.name == "a"]
    found = outline(Volume(ct, grid), atlases)
    assert found.shape == truth.shape
    assert dsc(found, truth) > 0.85


def test_each_is_outlined_by_the_others_alone_and_resumed(
    data: Path, library: Path, tmp_path: Path
) -> None:
    (tmp_path / "b.nii.gz").write_bytes(b"made before")
    leave_one_out(data, library, tmp_path)
    assert (tmp_path / "b.nii.gz").read_bytes() == b"made before"
    found, grid = read_nifti(tmp_path / "a.nii.gz")
    truth, true_grid = read_nifti(data / "a" / "liver.nii.gz")
    np.testing.assert_allclose(grid.affine, true_grid.affine, atol=1e-3)
    # b's outline is 12 voxels off: a's own would have brought it nearer to the truth
    assert dsc(found > 0, np.roll(truth, 12, axis=2) > 0) > 0.85
    assert dsc(found > 0, truth > 0) < 0.8


def test_a_library_of_others_is_refused(data: Path, library: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d").symlink_to(data / "a")
    with pytest.raises(AtlasRefused, match="holds no atlas of d"):
        leave_one_out(tmp_path / "data", library, tmp_path / "out")
    with pytest.raises(AtlasRefused, match="holds no atlas"):
        read_library(tmp_path)


def test_air_is_no_abdomen(library: Path) -> None:
    grid = Grid((20, 30, 40), np.diag([5.0, 4.0, 3.0, 1.0]))
    air = Volume(np.full(grid.shape, -1000, dtype=np.int16), grid)
    with pytest.raises(AtlasRefused, match="is it an abdomen"):
        outline(air, read_library(library))


def test_a_damaged_atlas_is_refused(library: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for file in ("ct.nii.gz", "liver.nii.gz"):
        (tmp_path / "a" / file).write_bytes((library / "a" / file).read_bytes()[:1000])
    with pytest.raises(AtlasRefused, match="cannot be read"):
        read_library(tmp_path)
