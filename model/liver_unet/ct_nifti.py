"""A CT from a NIfTI file, or a refusal that names the file."""

from __future__ import annotations

from pathlib import Path

import fill_voids
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from liver_unet.model_errors import VolumeRefused
from liver_unet.nifti import doubts_about_place, read_nifti
from liver_unet.plausible_hu import check_hu
from liver_unet.volume import AIR_HU, AIRLIKE_HU, LARGEST_LEAN_DEG, UPRIGHT_DEG, Grid, Volume

# Fewer slices than this cover no liver.
MINIMUM_SLICES = 10
# What is nearly as dark as all gets is not the body.
_NEARLY_HU = 30.0
# The cosine of rows and columns that are square to each other, as floats in a header have it.
_SQUARE = 1e-3


def read_ct_nifti(path: Path, min_slices: int = MINIMUM_SLICES) -> tuple[Volume, list[str]]:
    """Return the CT and warnings for the report; raises VolumeRefused."""
    try:
        hu, grid = read_nifti(path)
        doubts = doubts_about_place(path)
    except ImageFileError as error:
        raise VolumeRefused(str(error)) from error
    try:
        _check_grid(grid, min_slices)
        notes = doubts + _doubts_about_lean(grid) + _air_for_no_numbers(hu)
        return Volume(hu, grid), notes + check_hu(Volume(hu, grid))
    except VolumeRefused as refusal:
        raise VolumeRefused(f"{path}: {refusal}") from refusal


def _check_grid(grid: Grid, min_slices: int) -> None:
    if min(grid.shape) < min_slices:
        raise VolumeRefused(
            f"The image has {min(grid.shape)} slices and at least {min_slices} are needed; give "
            "the complete CT, or lower the minimum number of slices."
        )
    if np.array_equal(np.abs(grid.affine), np.eye(4)[[2, 1, 0, 3]]):
        # A body of voxels of 0.8 x 0.8 x 5 mm taken for 1 mm is odd, but not impossible: only the
        # header can tell, and no scanner writes this one.
        raise VolumeRefused(
            "The header holds an identity matrix, as files do that have lost their voxel sizes; "
            "write the true sizes and the position into it."
        )
    down, across = (grid.affine[:3, axis] / grid.spacing_mm[axis] for axis in (1, 2))
    if abs(down @ across) > _SQUARE:
        raise VolumeRefused(
            "The rows and columns of its slices are not at right angles, as no scanner has them: a "
            "registration may have written its own matrix into the header; give the original CT."
        )
    if grid.lean_deg > LARGEST_LEAN_DEG:
        raise VolumeRefused(
            f"The slices' positions lean by {grid.lean_deg:.0f} degrees, more than any gantry "
            "tilts; correct the header, or convert the image again from its source."
        )


def _doubts_about_lean(grid: Grid) -> list[str]:
    if grid.lean_deg <= UPRIGHT_DEG:
        return []
    return [
        f"The slices' positions lean by {grid.lean_deg:.0f} degrees, as where the gantry was "
        "tilted: where it was not, the header is wrong, and with it the outline's shape."
    ]


def _air_for_no_numbers(hu: NDArray[np.float32]) -> list[str]:
    """Put air where a voxel outside the body is no number; return a warning.

    Raises VolumeRefused where one lies in the body: enclosed by it, or next to it in the slice
    above or below.
    """
    wrong = ~np.isfinite(hu)
    if not wrong.any():
        return []
    in_slices = np.flatnonzero(wrong.any(axis=(1, 2)))
    if wrong.all():
        raise VolumeRefused("The image holds no numbers; export it again.")
    body_hu = max(AIRLIKE_HU, float(hu[~wrong].min()) + _NEARLY_HU)
    in_body = [index for index in in_slices if _meets_body(hu, wrong, int(index), body_hu)]
    if in_body:
        raise VolumeRefused(
            f"Slice {in_body[0] + 1} of {len(hu)} holds voxels that are no numbers within the "
            f"body ({len(in_body)} such slices); export the image again."
        )
    hu[wrong] = AIR_HU
    return [f"{int(wrong.sum())} voxels outside the body are no numbers and were taken as air."]


def _meets_body(
    hu: NDArray[np.float32], wrong: NDArray[np.bool_], index: int, body_hu: float
) -> bool:
    if wrong[index].all():
        return True
    near = range(max(0, index - 1), min(len(hu), index + 2))
    bodies = (fill_voids.fill((hu[i] > body_hu) & ~wrong[i]) for i in near)
    return any(bool((wrong[index] & body).any()) for body in bodies)
