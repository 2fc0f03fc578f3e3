"""A spleen or a lobe that grows: by how much, how far, and in mm on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from liver_unet.resample import sampling_points
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.cases import read_case
from liver_unet.training.growth import Growth, draw_growth
from liver_unet.training.held import HeldCase, held_case
from liver_unet.volume import Grid
from tests.model.training.phantom_cases import write_case_folder
from tests.model.training.plain_patch import CPU, chance
from tests.support.grids import grids


def in_mm(points: torch.Tensor, source: Grid) -> NDArray[np.float64]:
    """Torch's points back to where they are in the patient."""
    size = np.array(source.shape)
    return source.to_mm(((points.double().numpy()[..., ::-1] + 1) * size - 1) / 2)


@given(
    grid=grids(shear=0.3),
    share=st.floats(-0.9, 0.9),
    reach_mm=st.floats(20, 200),
    at=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_every_point_is_drawn_from_nearer_the_centre(
    grid: Grid, share: float, reach_mm: float, at: tuple[float, float, float]
) -> None:
    centre_mm = grid.to_mm(np.array(at) * grid.shape)
    points = sampling_points(grid, grid, CPU)
    before_mm = in_mm(points, grid)
    Growth(centre_mm, reach_mm, share).move(points, grid)
    offset_mm = before_mm - centre_mm
    fading = np.exp(-(np.linalg.norm(offset_mm, axis=-1) ** 2) / (2 * reach_mm**2))
    expected_mm = before_mm - share * fading[..., None] * offset_mm
    size_mm = float(np.max(grid.spacing_mm * grid.shape))
    np.testing.assert_allclose(in_mm(points, grid), expected_mm, atol=1e-5 * size_mm)


def test_nothing_folds_over() -> None:
    line = Grid((1, 1, 400), np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    for share in (-1.9, -0.4, 0.65, 0.95):
        points = sampling_points(line, line, CPU)
        Growth(np.array([130.0, 0.0, 0.0]), 40, share).move(points, line)
        assert bool((points[0, 0, 0, :, 0].diff() > 0).all()), share


def held(folder: Path, *, organs: bool) -> HeldCase:
    return held_case(read_case(write_case_folder(folder / "p", organs=organs)), 10.0, 2000.0, CPU)


def test_what_is_drawn_grows_the_spleen_and_changes_the_liver(tmp_path: Path) -> None:
    case = held(tmp_path, organs=True)
    drawn = [draw_growth(case, Augmentation(), chance(seed)) for seed in range(300)]
    grown = [one for one in drawn if one]
    assert 0.25 < len(grown) / len(drawn) < 0.55
    spleen_mm = case.spleen_centre_mm
    assert spleen_mm is not None
    is_spleen = [bool(np.linalg.norm(one.centre_mm - spleen_mm) < 35) for one in grown]
    assert 0.3 < np.mean(is_spleen) < 0.9
    assert all(one.share > 0 for one, spleen in zip(grown, is_spleen, strict=True) if spleen)
    assert min(one.share for one in grown) < 0 < max(one.share for one in grown)


def test_a_patient_without_an_outlined_spleen_has_growths_of_the_liver_alone(
    tmp_path: Path,
) -> None:
    case = held(tmp_path, organs=False)
    assert case.spleen_centre_mm is None
    numbers = Augmentation()
    grown = [one for s in range(100) if (one := draw_growth(case, numbers, chance(s)))]
    assert grown
    for one in grown:
        nearest_mm = np.linalg.norm(case.liver_points_mm - one.centre_mm, axis=1).min()
        assert nearest_mm < 1e-6
