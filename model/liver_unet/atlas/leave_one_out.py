"""Every outlined patient by the others: what the atlas can do on patients it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from liver_unet.atlas.library import Atlas, read_library
from liver_unet.atlas.vote import outline
from liver_unet.model_errors import AtlasRefused
from liver_unet.nifti import write_nifti
from liver_unet.training.cases import read_case
from liver_unet.training.layouts import find_cases


def leave_one_out(data: Path, library: Path, out: Path) -> None:
    """Write OUT/NAME.nii.gz on each case's own grid; what is there already stays.

    data: the cases that the library was built from, found there by their names.
    """
    atlases = read_library(library)
    out.mkdir(parents=True, exist_ok=True)
    for files in tqdm(find_cases(data), unit="case", disable=None):
        result = out / f"{files.name}.nii.gz"
        if result.exists():
            continue
        case = read_case(files)
        mask = outline(case.ct, _without(files.name, atlases))
        part = out / f"{files.name}.part.nii.gz"
        write_nifti(part, mask.astype(np.uint8), case.ct.grid)
        part.rename(result)


def _without(name: str, atlases: list[Atlas]) -> list[Atlas]:
    others = [atlas for atlas in atlases if atlas.name != name]
    if len(others) == len(atlases):
        raise AtlasRefused(f"the library holds no atlas of {name}: it is not made of these cases")
    return others
