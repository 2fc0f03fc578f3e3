"""A library is made anew where a mask is newer, as one is of which another ROI was chosen."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from liver_unet.atlas.library import build_library, read_library
from liver_unet.nifti import write_nifti
from tests.model.training.phantom_cases import write_case_folder
from tests.support.phantom import small_abdomen


def test_an_atlas_stays_until_its_mask_is_newer(tmp_path: Path) -> None:
    case, phantom = write_case_folder(tmp_path / "data" / "a"), small_abdomen()
    library = tmp_path / "library"
    assert build_library(tmp_path / "data", library) == 1
    made = library / "a" / "liver.nii.gz"
    [first], made_ns = read_library(library), made.stat().st_mtime_ns
    build_library(tmp_path / "data", library)
    assert made.stat().st_mtime_ns == made_ns
    half = phantom.liver & (np.arange(92) > 30)
    write_nifti(case.liver, half.astype(np.uint8), phantom.volume.grid)
    os.utime(case.liver, ns=(made_ns + 10**9, made_ns + 10**9))
    build_library(tmp_path / "data", library)
    [second] = read_library(library)
    assert 0 < second.liver.sum() < first.liver.sum()
