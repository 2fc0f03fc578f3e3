"""The series that are timed: a real CT and the phantom at any number of slices of 512 x 512."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.resample import canonical_grid, resample
from liver_unet.volume import Grid, Volume
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.phantom import abdomen
from tests.support.real_data import DATA

_REAL = DATA / "train" / "btcv_0009" / "ct.nii.gz"
_SIDE = 512
_REAL_PIXEL_MM = 0.98
_PHANTOM_MM = (320.0, 0.8, 0.8)


def kinds() -> tuple[str, ...]:
    """What can be timed here; without the real CT the phantom alone."""
    return ("real", "phantom") if _REAL.exists() else ("phantom",)


def prepared(folder: Path, kind: str, slices: int) -> Path:
    """Return the folder of one series: dicom/ and, converted for whoever wants that, ct.nii."""
    out = folder / f"{kind}-{slices}"
    if not out.exists():
        part = out.with_suffix(".part")
        (part / "dicom").mkdir(parents=True)
        volume = ct(kind, slices)
        for number, instance in enumerate(write_ct_series(volume)):
            (part / "dicom" / f"{number:04}.dcm").write_bytes(to_bytes(instance))
        write_nifti(part / "ct.nii", volume.hu.astype(np.int16), volume.grid)
        part.replace(out)
    return out


def ct(kind: str, slices: int) -> Volume:
    """The real CT keeps its extent, however many slices it is cut into; so does the phantom."""
    if kind == "phantom":
        extent_mm, row_mm, column_mm = _PHANTOM_MM
        return abdomen((slices, _SIDE, _SIDE), (extent_mm / slices, row_mm, column_mm)).volume
    hu, source = read_nifti(_REAL)
    body = canonical_grid(source, 1.0)
    extent_mm = float(body.shape[0] - 1)
    affine = np.eye(4)[[2, 1, 0, 3]] * [extent_mm / (slices - 1), _REAL_PIXEL_MM, _REAL_PIXEL_MM, 1]
    half = (np.array([slices, _SIDE, _SIDE]) - 1) / 2
    middle_mm = body.to_mm((np.array(body.shape) - 1) / 2)
    affine[:3, 3] = middle_mm - affine[:3, :3] @ half
    grid = Grid((slices, _SIDE, _SIDE), affine)
    moved = resample(torch.from_numpy(hu), source, grid, fill=-1024.0).numpy()
    return Volume(np.rint(moved).astype(np.int16), grid)
