"""A case held in memory near the network's spacing, to be sampled at any place and angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from liver_unet.resample import block_averaged
from liver_unet.training.cases import Case
from liver_unet.volume import Grid

_NEIGHBOURS = ("spleen", "stomach", "gallbladder", "pancreas", "kidney", "aorta")


@dataclass(frozen=True, eq=False)
class AveragedCase:
    """One patient, averaged in-plane towards the network's spacing.

    hu_and_liver: (2, slice, row, column) float32, liver 0..1. organs: the numbers of organ_names,
    on the same grid; organ_names holds the liver alone where nobody outlined its neighbours.
    liver_points_mm: (points, xyz) of some of its voxels. spleen_centre_mm: None where the spleen
    is not outlined.
    """

    hu_and_liver: torch.Tensor
    organs: torch.Tensor
    grid: Grid
    organ_names: dict[int, str]
    organ_mean_hu: dict[int, float]
    liver_points_mm: NDArray[np.float64]
    spleen_centre_mm: NDArray[np.float64] | None

    @property
    def liver_number(self) -> int:
        return next(n for n, name in self.organ_names.items() if name == "liver")

    @property
    def neighbour_numbers(self) -> list[int]:
        return [n for n, name in self.organ_names.items() if name.startswith(_NEIGHBOURS)]

    @property
    def neighbours_known(self) -> bool:
        """True where the organs most often taken for liver are outlined."""
        return {"spleen", "stomach", "gallbladder"} <= set(self.organ_names.values())


def averaged_case(case: Case, spacing_mm: float) -> AveragedCase:
    """Average HU and liver over whole blocks of voxels up to spacing_mm."""
    grid, names = case.ct.grid, case.organ_names
    hu = torch.from_numpy(case.ct.hu.astype(np.float32))
    averaged_hu, averaged_grid = block_averaged(hu, grid, spacing_mm)
    mask = torch.from_numpy(case.liver.astype(np.float32))
    averaged_mask, _ = block_averaged(mask, grid, spacing_mm)
    # Numbers cannot be averaged: take the first of each block, at most half a block off.
    step = [-(-n // m) for n, m in zip(grid.shape, averaged_grid.shape, strict=True)]
    picked = case.organs[:: step[0], :: step[1], :: step[2]].astype(np.float32)
    numbers = [number for number, name in names.items() if name == "spleen"]
    spleen = grid.to_mm(_some_of(np.isin(case.organs, numbers)))
    return AveragedCase(
        hu_and_liver=torch.stack([averaged_hu, averaged_mask]),
        organs=torch.from_numpy(picked),
        grid=averaged_grid,
        organ_names=names,
        organ_mean_hu={n: _mean_hu(case, n) for n in names},
        liver_points_mm=grid.to_mm(_some_of(case.liver)),
        spleen_centre_mm=spleen.mean(axis=0) if len(spleen) else None,
    )


def _mean_hu(case: Case, organ: int) -> float:
    inside = case.organs == organ
    return float(case.ct.hu[inside].mean()) if inside.any() else 0.0


def _some_of(organ: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Indices of enough voxels to centre patches on; all of a very small organ's."""
    thinned = np.argwhere(organ[::2, ::4, ::4]) * np.array([2.0, 4.0, 4.0])
    return thinned if len(thinned) else np.argwhere(organ).astype(np.float64)
