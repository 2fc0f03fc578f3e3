"""A patch of a case as it was scanned, but elsewhere, turned, scaled, bent and grown.

One resampling carries all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch.nn import functional

from liver_unet.liver import BORDER, LIVER
from liver_unet.resample import points_from_mm, sampling_points
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.growth import Growth, draw_growth
from liver_unet.training.held import HeldCase
from liver_unet.training.tissues import OUTSIDE, REST
from liver_unet.volume import Grid

Shape = tuple[int, int, int]
_BEND_KNOTS = 6


@dataclass(eq=False)
class Patch:
    """(slice, row, column), slices to the head, rows to the back; hu is what painting changes.

    tissue: see tissues.py; known: where the truth holds; outside: what was not scanned.
    """

    hu: torch.Tensor
    liver: torch.Tensor
    tissue: torch.Tensor
    known: torch.Tensor
    outside: torch.Tensor
    spacing_mm: float
    case: HeldCase


def draw_patch(
    case: HeldCase, shape: Shape, spacing_mm: float, numbers: Augmentation, chance: Chance
) -> Patch:
    """Return a patch whose scan may end within it; nothing is known where that cut the liver."""
    growth = draw_growth(case, numbers, chance)
    grid = _patch_grid(
        _centre_mm(case, growth, numbers, chance), shape, spacing_mm, numbers, chance
    )
    points = sampling_points(case.grid, grid, case.device)
    strength_mm = chance.within(numbers.bend_mm)
    if strength_mm > 0:
        points += _bend(case, shape, strength_mm, chance)
    if growth:
        growth.move(points, case.grid)
    hu, share = functional.grid_sample(
        case.hu_and_liver[None], points, padding_mode="border", align_corners=False
    )[0]
    outside, known = _scanned(points[0], case)
    if chance.happens(numbers.scan_end):
        _end_scan(outside, known, numbers, chance)
    liver = (share > BORDER) & ~outside
    tissue = _nearest(case.tissue, points[0])
    tissue.masked_fill_((tissue == LIVER) & ~liver, REST).masked_fill_(outside, OUTSIDE)
    tissue.masked_fill_(liver, LIVER)
    return Patch(hu, liver, tissue, known, outside, spacing_mm, case)


def _centre_mm(
    case: HeldCase, growth: Growth | None, numbers: Augmentation, chance: Chance
) -> NDArray[np.float64]:
    if growth and chance.happens(numbers.near_grown):
        near, reach_mm = growth.centre_mm, numbers.near_grown_mm
    elif chance.happens(numbers.near_liver):
        near, reach_mm = chance.one_of(case.liver_points_mm), numbers.near_liver_mm
    else:
        share = chance.numbers.uniform(*numbers.anywhere_share, 3)
        return case.grid.to_mm(share * (np.array(case.grid.shape) - 1))
    return np.asarray(near + chance.numbers.uniform(-reach_mm, reach_mm, 3))


def _patch_grid(
    centre_mm: NDArray[np.float64],
    shape: Shape,
    spacing_mm: float,
    numbers: Augmentation,
    chance: Chance,
) -> Grid:
    angles = chance.numbers.normal(0, numbers.turn_deg)
    turn = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()
    size = chance.ratio(numbers.size_ratio) * chance.numbers.uniform(*numbers.stretch_ratio, 3)
    step = np.zeros((3, 3))
    step[2, 0] = step[1, 1] = step[0, 2] = spacing_mm
    affine = np.eye(4)
    # A patient scaled up is seen as a finer step through the stored one.
    affine[:3, :3] = (turn / size) @ step
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _bend(case: HeldCase, shape: Shape, strength_mm: float, chance: Chance) -> torch.Tensor:
    """A smooth displacement of torch's points."""
    bend_mm = chance.smooth((3, _BEND_KNOTS, _BEND_KNOTS, _BEND_KNOTS), shape)
    from_mm = torch.from_numpy(points_from_mm(case.grid)[:3, :3] * strength_mm).to(bend_mm)
    return torch.einsum("ij,jzyx->zyxi", from_mm, bend_mm)[None]


def _scanned(points: torch.Tensor, case: HeldCase) -> tuple[torch.Tensor, torch.Tensor]:
    """What lies outside the scan, and what is known; beyond a cut liver nothing is."""
    outside = torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    known = torch.ones_like(outside)
    for along in range(3):
        for beyond, cut in zip(
            (points[..., along] < -1, points[..., along] > 1), case.cut[:, along], strict=True
        ):
            outside |= beyond
            if cut:
                known &= ~beyond
    return outside, known


def _end_scan(
    outside: torch.Tensor, known: torch.Tensor, numbers: Augmentation, chance: Chance
) -> None:
    """Blank slices at the feet or the head: there, no liver is to be found."""
    count = max(1, int(len(outside) * chance.within(numbers.scan_end_share)))
    end = slice(0, count) if chance.happens(0.5) else slice(len(outside) - count, None)
    outside[end] = True
    known[end] = True


def _nearest(array: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The voxels of an array nearest to torch's points, the outer ones beyond it."""
    place = torch.zeros(points.shape[:-1], dtype=torch.int64, device=points.device)
    for along, size in zip((2, 1, 0), array.shape, strict=True):
        index = ((points[..., along] + 1) * (size / 2)).long().clamp_(0, size - 1)
        place.mul_(size).add_(index)
    return array.reshape(-1)[place]
