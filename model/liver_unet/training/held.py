"""A case held in memory on the device, near the network's spacing, to be sampled at any angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from liver_unet.liver import LIVER, is_liver
from liver_unet.perturbations import Patient
from liver_unet.resample import block_averaged
from liver_unet.training.cases import Case
from liver_unet.training.tissues import (
    CLASSES,
    SPLEEN,
    classes_of,
    outlined_classes,
    with_lung_and_outside,
)
from liver_unet.volume import Box, Grid, Volume


@dataclass(frozen=True, eq=False)
class HeldCase:
    """One volume, averaged in whole blocks of voxels towards the network's spacing.

    hu_and_liver: (2, slice, row, column) float32, liver 0..1. tissue: uint8 there, see tissues.py.
    mean_hu: of each class, no number where it is not there. outlined: the classes that somebody
    drew. scanned_mm: the middle one of the scan's own three spacings.
    cut: (2, 3), whether the liver goes on beyond the first and the last voxel along x, y, z of
    torch's points, which run along column, row, slice.
    """

    hu_and_liver: torch.Tensor
    tissue: torch.Tensor
    grid: Grid
    mean_hu: NDArray[np.float64]
    outlined: frozenset[int]
    scanned_mm: float
    cut: NDArray[np.bool_]
    liver_points_mm: NDArray[np.float64]
    spleen_centre_mm: NDArray[np.float64] | None

    @property
    def device(self) -> torch.device:
        return self.hu_and_liver.device


def held_case(case: Case, spacing_mm: float, reach_mm: float, device: torch.device) -> HeldCase:
    """reach_mm: how much of the scan above and below the liver is kept."""
    hu, grid = block_averaged(torch.from_numpy(case.ct.hu), case.ct.grid, spacing_mm)
    mask = torch.from_numpy(case.liver.astype(np.float32))
    share, _ = block_averaged(mask, case.ct.grid, spacing_mm)
    volume = Volume(hu.float().numpy(), grid)
    classes = classes_of(_picked(case.organs, grid), case.organ_names)
    tissue = with_lung_and_outside(classes, Patient(volume, is_liver(share.numpy())))
    mean_hu = np.array([_mean(volume.hu[tissue == n]) for n in range(CLASSES)])
    box = _near_liver(tissue == LIVER, grid, reach_mm)
    part = grid.cropped(box)
    spleen_mm = part.to_mm(_some_of(tissue[box] == SPLEEN))
    both = torch.stack([torch.from_numpy(volume.hu[box]), share[box]])
    return HeldCase(
        hu_and_liver=both.to(device),
        tissue=torch.from_numpy(tissue[box]).to(device),
        grid=part,
        mean_hu=mean_hu,
        outlined=outlined_classes(case.organ_names),
        scanned_mm=float(np.median(case.ct.grid.spacing_mm)),
        cut=_cut_ends(case.liver),
        liver_points_mm=part.to_mm(_some_of(tissue[box] == LIVER)),
        spleen_centre_mm=spleen_mm.mean(axis=0) if len(spleen_mm) else None,
    )


def _picked(organs: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """Numbers cannot be averaged: take the middle one of each block."""
    step = [-(-n // m) for n, m in zip(organs.shape, grid.shape, strict=True)]
    places = [
        np.minimum(np.arange(m) * s + s // 2, n - 1)
        for n, m, s in zip(organs.shape, grid.shape, step, strict=True)
    ]
    return np.asarray(organs[np.ix_(*places)])


def _near_liver(liver: NDArray[np.bool_], grid: Grid, reach_mm: float) -> Box:
    """All that lies not more than reach_mm higher or lower than the liver."""
    corners_mm = grid.corners_mm()
    heights_mm = grid.to_mm(np.argwhere(liver).astype(float))[:, 2]
    low, high = heights_mm.min() - reach_mm, heights_mm.max() + reach_mm
    corners_mm[:, 2] = corners_mm[:, 2].clip(low, high)
    return grid.box_around(corners_mm)


def _cut_ends(liver: NDArray[np.bool_]) -> NDArray[np.bool_]:
    first, last = ([bool(liver.take(index, axis).any()) for axis in (2, 1, 0)] for index in (0, -1))
    return np.array([first, last])


def _mean(hu: NDArray[np.float32] | NDArray[np.int16]) -> float:
    return float(hu.mean()) if hu.size else float("nan")


def _some_of(organ: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Indices of enough voxels to centre patches on; all of a very small organ's."""
    thinned = np.argwhere(organ[::2, ::4, ::4]) * np.array([2.0, 4.0, 4.0])
    return thinned if len(thinned) else np.argwhere(organ).astype(np.float64)
