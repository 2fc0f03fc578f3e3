"""Read a case, and refuse one that would teach something wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from liver_unet.ct_nifti import read_ct_nifti
from liver_unet.liver import first_gap, no_liver_because
from liver_unet.model_errors import TrainingRefused, VolumeRefused
from liver_unet.nifti import read_nifti
from liver_unet.resample import on_voxels_of
from liver_unet.training.layouts import CaseFiles
from liver_unet.volume import Grid, Volume

_LABELS = (0, 1, 2)


@dataclass(frozen=True, eq=False)
class Case:
    """One patient: CT, liver mask on its grid, and the neighbours' numbers where outlined."""

    name: str
    ct: Volume
    liver: NDArray[np.bool_]
    organs: NDArray[np.uint8]
    organ_names: dict[int, str]


def read_case(files: CaseFiles) -> Case:
    """Return a case whose images are readable, finite, of one grid and not empty."""
    ct = _read_ct(files.ct)
    liver = _liver(files, ct.grid)
    if files.organs is None:
        return Case(files.name, ct, liver, liver.astype(np.uint8), {1: "liver"})
    organs = _on_grid(files.organs, ct.grid, files.ct).astype(np.uint8)
    names = _organ_names(files.organs.with_name("organs.json"), organs)
    return Case(files.name, ct, liver, organs, names)


def _liver(files: CaseFiles, grid: Grid) -> NDArray[np.bool_]:
    labels = _on_grid(files.liver, grid, files.ct)
    if not np.isin(labels, _LABELS).all():
        raise TrainingRefused(
            f"{files.liver} holds other values than 0, 1 (liver) and 2 (tumours in it): save the "
            "liver alone as a mask"
        )
    liver = labels > 0
    if why := no_liver_because(liver, grid):
        raise TrainingRefused(f"{files.liver} {why}")
    if (gap := first_gap(liver)) is not None:
        raise TrainingRefused(
            f"{files.liver} leaves out slice {gap + 1} between outlined ones: a network would "
            "learn that there is no liver; complete the mask first"
        )
    return liver


def _read_ct(path: Path) -> Volume:
    """What is only doubted teaches all the same: the training data were clipped on purpose."""
    try:
        return read_ct_nifti(path)[0]
    except VolumeRefused as refusal:
        raise TrainingRefused(str(refusal)) from refusal


def _read(path: Path) -> tuple[NDArray[np.float32], Grid]:
    try:
        return read_nifti(path)
    except ImageFileError as error:
        raise TrainingRefused(str(error)) from error


def _on_grid(path: Path, grid: Grid, ct: Path) -> NDArray[np.float32]:
    """Read labels whose voxels are the CT's or some of them; zero elsewhere."""
    labels, label_grid = _read(path)
    placed = on_voxels_of(labels, label_grid, grid)
    if placed is not None:
        return placed
    if label_grid.shape != grid.shape:
        raise TrainingRefused(
            f"{path} has {label_grid.shape} voxels (slice, row, column), {ct} has {grid.shape}: "
            "the mask must lie on the CT's voxels"
        )
    apart_mm = np.abs(label_grid.corners_mm() - grid.corners_mm()).max()
    raise TrainingRefused(
        f"{path} lies up to {apart_mm:.1f} mm away from {ct}: their affines differ"
    )


def _organ_names(path: Path, organs: NDArray[np.uint8]) -> dict[int, str]:
    try:
        names = {int(n): str(name) for n, name in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingRefused(f"{path} is not a JSON object of names by number: {error}") from error
    if list(names.values()).count("liver") != 1:
        raise TrainingRefused(f"{path} must call exactly one number 'liver'")
    if unnamed := sorted(set(np.unique(organs).tolist()) - names.keys() - {0}):
        raise TrainingRefused(f"{path} names no organ {unnamed[0]}, which organs.nii.gz holds")
    return names
