"""Only what a ring of bone of a skull's size encloses is taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from liver_unet.preprocess import to_model_input
from liver_unet.skull import without_brain
from tests.support.phantom import abdomen, head

SPACING_MM = 2.0
SHAPE = (21, 230, 191)  # slice, row, column


def ring(radius_mm: float, *, gap_mm: float = 0.0) -> torch.Tensor:
    """Tissue of 0.5 with a ring of bone around it, off the centre, in slices 5 to 15."""
    row, column = np.indices(SHAPE[1:])
    x, y = (column - 93) * SPACING_MM, (row - 118) * SPACING_MM
    away = np.hypot(x, y * 0.8)
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
    window_hu = (-200.0, 250.0)
    skull, _ = to_model_input(head(), SPACING_MM, window_hu)
    belly, _ = to_model_input(
        abdomen((44, 130, 170), (6.5, 2.5, 2.3)).volume, SPACING_MM, window_hu
    )
    assert float(changed(skull).sum()) * SPACING_MM**3 / 1000 > 900
    assert not changed(belly).any()
