"""Where the networks are unsure, on the slices and in the pixels of a CT that lies askew."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.path import Path

from liver_unet.liver import Unsure
from liver_unet.volume import Grid
from orthanc_liver.dicom.unsure_contours import as_text, unsure_contours

TURN = np.array([[0.8, 0.36, -0.48], [0.6, -0.48, 0.64], [0.0, -0.8, -0.6]])


def ct_grid(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = TURN[:, ::-1] * spacing_mm
    affine[:3, 3] = (-31.0, 12.0, 250.0)
    return Grid(shape, affine)


@pytest.mark.parametrize(
    ("spacing_mm", "shape"), [((4.0, 1.1, 0.7), (20, 75, 110)), ((1.2, 2.9, 3.1), (66, 45, 34))]
)
def test_the_contours_lie_where_the_mask_does(
    spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    ct = ct_grid(spacing_mm, shape)
    sizes = [max(1, round(n * mm / 2.5)) for n, mm in zip(shape, spacing_mm, strict=True)]
    coarse = ct.resized((sizes[0], sizes[1], sizes[2]))
    mask = np.zeros(coarse.shape, dtype=bool)
    mask[9:20, 12:30, 8:15] = True
    mask[9:14, 24:30, 8:28] = True
    found = unsure_contours(Unsure(mask, coarse), ct)
    # Looked at between the pixels too, which are as coarse as the mask.
    fine = ct.resized((ct.shape[0], 4 * ct.shape[1], 4 * ct.shape[2]))
    points = ct.to_index(fine.to_mm(np.indices(fine.shape).reshape(3, -1).T.astype(float)))
    at = np.rint(coarse.to_index(ct.to_mm(points))).astype(int)
    expected = mask[tuple(np.clip(at, 0, np.array(mask.shape) - 1).T)].reshape(fine.shape)
    on_slice = points[: fine.shape[1] * fine.shape[2], :0:-1]
    drawn = np.zeros(fine.shape, dtype=bool)
    for number, contours in found.items():
        for flat in contours:
            corners = Path(np.array(flat, float).reshape(-1, 2) / 100)
            drawn[number] ^= corners.contains_points(on_slice).reshape(fine.shape[1:])
    dice = 2 * np.count_nonzero(drawn & expected) / (drawn.sum() + expected.sum())
    assert dice > 0.9
    middles = [fine.to_mm(np.argwhere(one).mean(axis=0)) for one in (drawn, expected)]
    assert np.linalg.norm(middles[0] - middles[1]) < 0.4 * spacing_mm[0] + 0.4
    assert len(json.dumps(found)) < 60_000


def test_a_region_of_one_voxel_at_the_edge() -> None:
    ct = ct_grid((5.0, 0.7, 0.9), (9, 80, 70))
    coarse = ct.resized((18, 22, 25))
    mask = np.zeros(coarse.shape, dtype=bool)
    mask[0, 0, 24] = True
    found = unsure_contours(Unsure(mask, coarse), ct)
    told = json.loads(as_text("j", found))
    assert (told["Job"], told["PartsOfPixel"]) == ("j", 100)
    assert set(told["Slices"]) <= {"0"}
