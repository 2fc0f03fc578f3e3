"""Tiny training data: the made-up abdomen, written in the layouts that people have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from liver_unet.nifti import write_nifti
from liver_unet.training import ByPatches, TrainingConfig, load_config
from liver_unet.training.layouts import CaseFiles
from tests.support.phantom import Phantom, small_abdomen

SMALL: dict[str, object] = {
    "spacing_mm": 12.0,
    "patch": (12, 16, 24),
    "channels": (4, 8, 16),
    "batch": 2,
    "length": ByPatches(24),
    "validations": 2,
    "folds": 2,
    "development": (),
    "same_patient": (),
}


def small_config(name: str, **changes: object) -> TrainingConfig:
    """A shipped recipe, so small that it trains in seconds."""
    return replace(load_config(name), **{**SMALL, **changes})  # type: ignore[arg-type]


def write_pair(phantom: Phantom, ct: Path, liver: Path) -> None:
    """Write CT and mask; tumours carry label 2, as in LiTS."""
    ct.parent.mkdir(parents=True, exist_ok=True)
    liver.parent.mkdir(parents=True, exist_ok=True)
    grid = phantom.volume.grid
    write_nifti(ct, phantom.volume.hu.astype(np.int16), grid)
    write_nifti(liver, (phantom.liver * (1 + phantom.tumours)).astype(np.uint8), grid)


def write_case_folder(folder: Path, seed: int = 1, *, organs: bool = False) -> CaseFiles:
    """Write one patient as a case folder."""
    phantom = small_abdomen(seed)
    write_pair(phantom, folder / "ct.nii.gz", folder / "liver.nii.gz")
    if not organs:
        return CaseFiles(folder.name, folder / "ct.nii.gz", folder / "liver.nii.gz")
    numbers = phantom.liver.astype(np.uint8)
    numbers[2:5, 10:20, 10:30] = 3
    write_nifti(folder / "organs.nii.gz", numbers, phantom.volume.grid)
    names = {1: "liver", 3: "spleen", 4: "stomach", 5: "gallbladder"}
    (folder / "organs.json").write_text(json.dumps(names))
    return CaseFiles(
        folder.name, folder / "ct.nii.gz", folder / "liver.nii.gz", folder / "organs.nii.gz"
    )


def write_case_folders(data: Path, count: int) -> None:
    """Write patients a, b, c... as case folders."""
    for seed in range(1, count + 1):
        write_case_folder(data / chr(96 + seed), seed)
