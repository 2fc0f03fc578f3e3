"""The metrics against shapes whose answers are known, and against SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from liver_unet.metrics import agreement
from liver_unet.volume import Grid

SHAPE = (40, 60, 70)
SPACING_MM = (3.0, 1.5, 1.2)
GRID = Grid(SHAPE, np.diag([*SPACING_MM, 1.0])[[2, 1, 0, 3]])


def ball(radius_mm: float, middle: tuple[float, float, float]) -> NDArray[np.bool_]:
    z, y, x = np.indices(SHAPE)
    offset = [(i - m) * s for i, m, s in zip((z, y, x), middle, SPACING_MM, strict=True)]
    return np.asarray(sum(o**2 for o in offset) <= radius_mm**2)


def box(first_row: int) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10:30, first_row : first_row + 20, 20:50] = True
    return mask


def test_a_mask_agrees_with_itself() -> None:
    same = agreement(box(12), box(12), GRID)
    assert (same.dsc, same.volume_ratio, same.mda_mm, same.hd95_mm) == (1, 1, 0, 0)
    assert same.surface_dice == 1


def test_a_box_shifted_by_rows() -> None:
    shifted = agreement(box(12), box(16), GRID)
    assert shifted.dsc == pytest.approx(2 * 16 / 40)
    assert shifted.volume_ratio == 1
    assert shifted.hd95_mm == pytest.approx(4 * SPACING_MM[1])


def test_a_larger_ball_around_a_smaller_one() -> None:
    """Between concentric spheres every distance is the difference of the radii."""
    middle = (19.7, 30.2, 35.4)
    found = agreement(ball(33, middle), ball(28, middle), GRID)
    # the surfaces are made of voxels, so this is known to half a voxel only
    assert found.mda_mm == pytest.approx(5, abs=0.6)
    assert found.volume_ratio == pytest.approx((33 / 28) ** 3, rel=0.02)
    assert found.surface_dice == 0


def test_simpleitk_measures_the_same() -> None:
    mask, reference = ball(30, (18.5, 29, 34)), ball(26, (20.4, 31, 37.5))
    ours = agreement(mask, reference, GRID)
    images = []
    for array in (mask, reference):
        image = sitk.GetImageFromArray(array.astype(np.uint8))
        image.SetSpacing(SPACING_MM[::-1])
        images.append(image)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert ours.dsc == pytest.approx(overlap.GetDiceCoefficient())
    directed = []
    for one, other in (images, images[::-1]):
        surface = sitk.GetArrayFromImage(sitk.LabelContour(one, fullyConnected=False)) > 0
        edge = sitk.LabelContour(other, fullyConnected=False)
        distance = sitk.SignedMaurerDistanceMap(edge, squaredDistance=False, useImageSpacing=True)
        directed.append(np.abs(sitk.GetArrayFromImage(distance))[surface])
    both = np.concatenate(directed)
    assert ours.mda_mm == pytest.approx(both.mean(), rel=1e-3)
    assert ours.hd95_mm == pytest.approx(max(np.percentile(d, 95) for d in directed), rel=1e-3)
    assert ours.surface_dice == pytest.approx((both <= 2.0).mean(), rel=1e-3)


def test_a_sheared_grid_is_refused() -> None:
    sheared = GRID.affine.copy()
    sheared[1, 0] = 1.0
    with pytest.raises(ValueError, match="right angles"):
        agreement(box(12), box(12), Grid(SHAPE, sheared))
    with pytest.raises(ValueError, match="empty"):
        agreement(box(12), np.zeros(SHAPE, dtype=bool), GRID)
