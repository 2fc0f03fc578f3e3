"""Only what a ring of bone of a skull's size encloses is taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from liver_unet.nifti import read_nifti
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.skull import is_brain, share_along_bone, without_brain
from liver_unet.volume import AIR_HU, Volume
from tests.support.phantom import abdomen, head
from tests.support.real_data import real_ct

SPACING_MM = 2.0
SHAPE = (21, 230, 191)  # slice, row, column


def around_the_middle() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A slice's pixels: mm to the left and the back of the ring's middle, and from it."""
    row, column = np.indices(SHAPE[1:])
    x, y = (column - 93) * SPACING_MM, (row - 118) * SPACING_MM
    return x, y, np.hypot(x, y * 0.8)


def ring(radius_mm: float, *, gap_mm: float = 0.0) -> torch.Tensor:
    """Tissue of 0.5 with a ring of bone around it, off the centre, in slices 5 to 15."""
    x, y, away = around_the_middle()
    image = torch.full(SHAPE, 0.5)
    bone = (abs(away - radius_mm) < 4) & ~((abs(x) < gap_mm / 2) & (y > 0))
    image[5:16, torch.from_numpy(bone)] = 1.0
    return image


def changed(image: torch.Tensor) -> torch.Tensor:
    after = without_brain(image, SPACING_MM)
    assert torch.equal(after[after > 0], image[after > 0])
    return image != after


def test_what_a_skull_encloses_becomes_air() -> None:
    blank = changed(ring(70.0))
    assert blank[6:15, 118, 93].all()
    assert not blank[:4].any()
    assert not blank[17:].any()
    area_cm2 = float(blank[10].sum()) * SPACING_MM**2 / 100
    assert area_cm2 == pytest.approx(np.pi * 6.4 * 6.4 / 0.8, rel=0.06)


@pytest.mark.parametrize(
    ("radius_mm", "gap_mm"),
    [
        (35.0, 0.0),  # a kidney's rim
        (150.0, 0.0),  # a frame around the patient
        (70.0, 24.0),  # ribs, a pelvis: no closed ring
    ],
)
def test_other_rings_are_left_alone(radius_mm: float, gap_mm: float) -> None:
    assert not changed(ring(radius_mm, gap_mm=gap_mm)).any()


def test_a_gap_as_thin_as_a_suture_is_bridged() -> None:
    assert changed(ring(70.0, gap_mm=2.5))[10, 118, 93]


def test_a_head_loses_its_brain_and_an_abdomen_nothing() -> None:
    assert 900 < gone_ml(head()) < 1800
    assert gone_ml(abdomen((44, 130, 170), (6.5, 2.5, 2.3)).volume) == 0


def gone_ml(volume: Volume) -> float:
    """What is air in the network's input and was none in the scan."""
    image, grid = to_model_input(volume, SPACING_MM, (-200.0, 250.0))
    hu = resample(torch.from_numpy(volume.hu), volume.grid, grid, fill=AIR_HU)
    return float(((image == 0) & (hu > -200)).sum()) * grid.voxel_ml


def plate_beside_a_box() -> tuple[NDArray[np.bool_], torch.Tensor]:
    """A box of 40 x 80 x 60 voxels with bone 2 mm beside one face of 80 x 60."""
    image = torch.full((70, 110, 90), 0.5)
    found = np.zeros(tuple(image.shape), dtype=bool)
    found[20:60, 10:90, 12:72] = True
    image[61:63, 10:90, 12:72] = 1.0
    return found, image


def test_the_share_of_a_surface_that_lies_along_bone() -> None:
    found, image = plate_beside_a_box()
    face_share = 80 * 60 / (2 * (80 * 60 + 40 * 80 + 40 * 60))
    assert share_along_bone(found, image, SPACING_MM) == pytest.approx(face_share, rel=0.15)


def test_what_shines_within_and_where_the_scan_ends_do_not_count() -> None:
    found, image = plate_beside_a_box()
    image[30:50, 10:90, 12:72] = 1.0  # lipiodol, out to three faces
    whole = share_along_bone(found, image, SPACING_MM)
    assert whole == pytest.approx(share_along_bone(*plate_beside_a_box(), SPACING_MM), abs=1e-6)
    # Five faces, not six, once the scan begins within the box.
    assert share_along_bone(found[30:], image[30:], SPACING_MM) > whole


def test_half_a_ball_in_an_open_skull_is_a_brain() -> None:
    image = ring(70.0, gap_mm=60.0)[5:16]
    assert not changed(image).any()
    x, _, away = around_the_middle()
    found = np.repeat(((away < 64) & (x < 0))[None], len(image), axis=0)
    assert is_brain(found, image, SPACING_MM)


@pytest.mark.parametrize("name", ["btcv_0006", "ircad_19"])  # thin: the ribs lie on the liver
def test_a_thin_patients_liver_lies_far_less_along_bone(name: str) -> None:
    folder = real_ct("train", name)
    hu, ct_grid = read_nifti(folder / "ct.nii.gz")
    image, grid = to_model_input(Volume(hu, ct_grid), SPACING_MM, (-200.0, 250.0))
    mask = torch.from_numpy(read_nifti(folder / "liver.nii.gz")[0])
    liver = resample(mask, ct_grid, grid, fill=0.0).numpy() > 0.5
    assert share_along_bone(liver, image, SPACING_MM) < 0.15
    assert not is_brain(liver, image, SPACING_MM)
