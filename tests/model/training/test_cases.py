"""A case that would teach something wrong is refused by a sentence that names its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liver_unet.model_errors import TrainingRefused
from liver_unet.nifti import write_nifti
from liver_unet.training.cases import read_case
from liver_unet.training.layouts import CaseFiles
from liver_unet.volume import Grid, box_of
from tests.model.training.phantom_cases import write_case_folder
from tests.support.phantom import small_abdomen


@pytest.fixture
def files(tmp_path: Path) -> CaseFiles:
    return write_case_folder(tmp_path / "p", organs=True)


def refusal(files: CaseFiles) -> str:
    with pytest.raises(TrainingRefused) as refused:
        read_case(files)
    return str(refused.value)


def rewrite(path: Path, array: np.ndarray, grid: Grid) -> None:
    write_nifti(path, array.astype(np.uint8), grid)


def test_tumours_are_liver(files: CaseFiles) -> None:
    phantom = small_abdomen()
    assert phantom.tumours.any()
    case = read_case(files)
    assert (case.liver == phantom.liver).all()
    assert (case.ct.hu == phantom.volume.hu).all()
    np.testing.assert_allclose(case.ct.grid.affine, phantom.volume.grid.affine, atol=1e-4)
    assert case.organ_names[3] == "spleen"


def test_without_organs_the_liver_is_the_only_one(files: CaseFiles) -> None:
    case = read_case(replace(files, organs=None))
    assert case.organ_names == {1: "liver"}
    assert (case.organs == case.liver).all()


def test_an_empty_mask(files: CaseFiles) -> None:
    phantom = small_abdomen()
    rewrite(files.liver, np.zeros_like(phantom.liver), phantom.volume.grid)
    assert refusal(files) == f"{files.liver} is empty: it outlines no liver"


def test_a_mask_of_another_shape(files: CaseFiles) -> None:
    phantom = small_abdomen()
    longer = np.zeros((25, 70, 92), dtype=bool)
    longer[:24] = phantom.liver
    rewrite(files.liver, longer, Grid((25, 70, 92), phantom.volume.grid.affine))
    said = refusal(files)
    assert str(files.liver) in said
    assert "(25, 70, 92)" in said
    assert "(24, 70, 92)" in said


def test_a_mask_of_smaller_extent_is_placed_by_its_header(files: CaseFiles) -> None:
    """As 3D Slicer saves it; its rows run the other way besides."""
    phantom = small_abdomen()
    box = box_of(phantom.liver, margin=1)
    grid, mask = phantom.volume.grid.cropped(box), phantom.liver[box]
    turned = grid.affine.copy()
    turned[:3, 3] = grid.to_mm(np.array([0.0, mask.shape[1] - 1, 0.0]))
    turned[:3, 1] *= -1
    rewrite(files.liver, mask[:, ::-1], Grid(mask.shape, turned))
    np.testing.assert_array_equal(read_case(files).liver, phantom.liver)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ((11, slice(30, 31), slice(40, 41)), "0.24 mL, which is no liver"),
        ((slice(None), slice(5, None), slice(None)), "93 % of the image, which is no liver"),
    ],
)
def test_what_is_no_liver(files: CaseFiles, where: tuple[slice, ...], said: str) -> None:
    phantom = small_abdomen()
    mask = np.zeros_like(phantom.liver)
    mask[where] = True
    rewrite(files.liver, mask, phantom.volume.grid)
    assert refusal(files) == f"{files.liver} outlines {said}"


def test_a_slice_that_the_mask_leaves_out(files: CaseFiles) -> None:
    phantom = small_abdomen()
    mask = phantom.liver.copy()
    outlined = np.flatnonzero(mask.any(axis=(1, 2)))
    mask[outlined[3]] = False
    rewrite(files.liver, mask, phantom.volume.grid)
    assert refusal(files).startswith(f"{files.liver} leaves out slice {outlined[3] + 1} between")


@pytest.mark.parametrize("value", [3, -1, np.nan, 0.5])
def test_a_mask_of_more_than_the_liver(files: CaseFiles, value: float) -> None:
    """Of an atlas of organs, all would count as liver."""
    phantom = small_abdomen()
    mask = phantom.liver.astype(np.float32)
    mask[5, 20, 30] = value
    affine = nib.nifti1.Nifti1Image.from_filename(files.liver).affine
    nib.save(nib.Nifti1Image(mask.transpose(2, 1, 0), affine), files.liver)
    assert refusal(files).startswith(f"{files.liver} holds other values than 0, 1 (liver) and 2")


def test_label_2_is_tumours_in_the_liver(files: CaseFiles) -> None:
    phantom = small_abdomen()
    rewrite(files.liver, phantom.liver + phantom.tumours.astype(np.uint8), phantom.volume.grid)
    assert (read_case(files).liver == phantom.liver).all()


def test_a_mask_that_lies_elsewhere(files: CaseFiles) -> None:
    phantom = small_abdomen()
    moved = phantom.volume.grid.affine.copy()
    moved[1, 3] += 7
    rewrite(files.liver, phantom.liver, Grid(phantom.liver.shape, moved))
    said = refusal(files)
    assert said.startswith(str(files.liver))
    assert "7.0 mm away" in said


def test_a_mirrored_mask(files: CaseFiles) -> None:
    phantom = small_abdomen()
    mirrored = phantom.volume.grid.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    rewrite(files.liver, phantom.liver, Grid(phantom.liver.shape, mirrored))
    assert "their affines differ" in refusal(files)


def test_organs_of_another_grid(files: CaseFiles) -> None:
    assert files.organs is not None
    phantom = small_abdomen()
    coarser = phantom.volume.grid.affine @ np.diag([1.0, 1.0, 2.0, 1.0])
    rewrite(files.organs, phantom.liver[:, :, ::2], Grid((24, 70, 46), coarser))
    assert str(files.organs) in refusal(files)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8b\x08broken"])
def test_a_file_that_is_no_image(files: CaseFiles, content: bytes) -> None:
    files.ct.write_bytes(content)
    assert refusal(files).startswith(f"{files.ct} cannot be read")


def test_a_truncated_file(files: CaseFiles) -> None:
    content = files.ct.read_bytes()
    files.ct.write_bytes(content[: len(content) // 2])
    assert refusal(files).startswith(f"{files.ct} cannot be read")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is not a JSON object"),
        ('{"1": "left kidney", "3": "spleen"}', "exactly one number 'liver'"),
        ('{"1": "liver"}', "names no organ 3"),
    ],
)
def test_organ_names_that_do_not_fit(files: CaseFiles, content: str, said: str) -> None:
    assert files.organs is not None
    names = files.organs.with_name("organs.json")
    names.write_text(content)
    assert str(names) in refusal(files)
    assert said in refusal(files)
