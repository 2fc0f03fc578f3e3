"""Read a case, and refuse one that would teach something wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from liver_unet.ct_nifti import read_ct_nifti
from liver_unet.liver import no_liver_because
from liver_unet.model_errors import TrainingRefused, VolumeRefused
from liver_unet.nifti import read_nifti
from liver_unet.resample import on_voxels_of
from liver_unet.training.layouts import CaseFiles
from liver_unet.volume import Grid, Volume


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
    labels = _on_grid(files.liver, ct.grid, files.ct)
    liver = labels > 0.5
    if why := no_liver_because(liver, ct.grid):
        raise TrainingRefused(f"{files.liver} {why}")
    if files.organs is None:
        return Case(files.name, ct, liver, liver.astype(np.uint8), {1: "liver"})
    organs = _on_grid(files.organs, ct.grid, files.ct).astype(np.uint8)
    names = _organ_names(files.organs.with_name("organs.json"), organs)
    return Case(files.name, ct, liver, organs, names)


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
