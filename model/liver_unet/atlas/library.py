"""The outlined patients, small enough to be registered again and again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from tqdm import tqdm

from liver_unet.liver import is_liver
from liver_unet.model_errors import AtlasRefused
from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.resample import canonical_grid, resample
from liver_unet.training.cases import read_case
from liver_unet.training.layouts import CaseFiles, find_cases
from liver_unet.volume import Grid, Volume

SPACING_MM = 3.0
# Fat to enhanced vessels. Air and lung fall together, as they do where a CT was clipped before.
WINDOW_HU = (-120.0, 240.0)


@dataclass(frozen=True, eq=False)
class Atlas:
    """One outlined patient, upright in voxels of 3 mm; hu is clipped to WINDOW_HU."""

    name: str
    volume: Volume
    liver: NDArray[np.bool_]


def build_library(data: Path, out: Path) -> int:
    """Write OUT/NAME/ct.nii.gz and liver.nii.gz for every case in data; return how many.

    data: any layout that training reads, as NIfTI. A case that is there already stays, unless its
    mask is newer.
    """
    cases = find_cases(data)
    out.mkdir(parents=True, exist_ok=True)
    for files in tqdm(cases, unit="atlas", disable=None):
        if not _is_up_to_date(out / files.name, files):
            shutil.rmtree(out / files.name, ignore_errors=True)
            _write(_atlas(files), out / files.name)
    return len(cases)


def _is_up_to_date(folder: Path, files: CaseFiles) -> bool:
    made = folder / "liver.nii.gz"
    return made.exists() and made.stat().st_mtime_ns >= files.liver.stat().st_mtime_ns


def read_library(folder: Path) -> list[Atlas]:
    """Read what build_library wrote; raises AtlasRefused."""
    names = sorted(p.parent.name for p in folder.glob("*/liver.nii.gz"))
    if not names:
        raise AtlasRefused(f"{folder} holds no atlas: make it with orthanc-liver atlas build")
    return [_read(folder / name) for name in names]


def at_atlas_spacing(volume: Volume) -> Volume:
    """The CT as atlases are: upright, 3 mm, clipped."""
    grid = canonical_grid(volume.grid, SPACING_MM)
    low, high = WINDOW_HU
    hu = resample(torch.from_numpy(volume.hu), volume.grid, grid, fill=low)
    return Volume(hu.clamp_(low, high).numpy(), grid)


def _atlas(files: CaseFiles) -> Atlas:
    case = read_case(files)
    volume = at_atlas_spacing(case.ct)
    share = torch.from_numpy(case.liver.astype(np.float32))
    liver = is_liver(resample(share, case.ct.grid, volume.grid, fill=0.0).numpy())
    return Atlas(case.name, volume, liver)


def _write(atlas: Atlas, folder: Path) -> None:
    """The folder appears only when it is complete."""
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    hu = np.rint(atlas.volume.hu).astype(np.int16)
    write_nifti(part / "ct.nii.gz", hu, atlas.volume.grid)
    write_nifti(part / "liver.nii.gz", atlas.liver.astype(np.uint8), atlas.volume.grid)
    part.rename(folder)


def _read(folder: Path) -> Atlas:
    hu, grid = _image(folder / "ct.nii.gz")
    liver, liver_grid = _image(folder / "liver.nii.gz")
    if liver_grid.shape != grid.shape or not np.allclose(liver_grid.affine, grid.affine, atol=0.01):
        raise AtlasRefused(f"{folder}: the liver does not lie on its CT's grid; build it again")
    return Atlas(folder.name, Volume(hu, grid), is_liver(liver))


def _image(path: Path) -> tuple[NDArray[np.float32], Grid]:
    try:
        return read_nifti(path)
    except ImageFileError as error:
        raise AtlasRefused(str(error)) from error
