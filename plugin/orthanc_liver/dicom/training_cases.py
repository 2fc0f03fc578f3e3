"""Train on whatever the researcher has: DICOM is turned into case folders first.

One CT series and the one RTSTRUCT that refers to it are one case. The model's side knows no DICOM.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.uid import RTStructureSetStorage
from tqdm import tqdm

from liver_unet import training
from liver_unet.ct_nifti import MINIMUM_SLICES
from liver_unet.model_errors import TrainingRefused
from liver_unet.nifti import write_nifti
from liver_unet.segmenter import chosen_device
from liver_unet.volume import Grid
from orthanc_liver.dicom.ct_folder import DicomFile, dicom_files
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.rtstruct_reader import (
    OutlineRefused,
    Polygons,
    first_gap,
    mask_of,
    roi_polygons,
)
from orthanc_liver.liver_errors import SeriesRefused


def train(
    data: Path,
    out: Path,
    config: str = "published",
    fold: int | None = 0,
    device: str = "auto",
    start: Path | None = None,
) -> None:
    """Train on a folder in any known layout; see liver_unet.training.train for what it leaves.

    config: a shipped configuration's name, or a path. fold: None learns from every case.
    device: "auto" (a GPU when there is one), "cpu" or "cuda". start: a folder of weights to begin
    from. Raises ModelError.
    """
    recipe = training.load_config(config)
    cases = prepared(data, out / "cases")
    training.train(recipe, cases, out, chosen_device(device), fold, start)


@dataclass(frozen=True)
class _Outline:
    """A structure set's liver: its polygons (n, 3) in mm, and the CT series it was drawn on."""

    path: Path
    uid: str
    series_uid: str
    polygons: Polygons


def prepared(data: Path, cache: Path) -> Path:
    """Return data, or cache with DICOM cases converted to folders named by RTSTRUCT UID.

    Raises TrainingRefused where CT and RTSTRUCT do not pair, or an outline does not fit its CT.
    """
    series, structures = _cts_and_structures(data)
    if not series and not structures:
        return data
    if images := sorted(data.rglob("*.nii*")):
        raise TrainingRefused(f"{data} holds DICOM and NIfTI ({images[0]}): give one of them")
    outlines = [_outline(one) for one in structures]
    _check_pairs(series, outlines)
    cache.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in cache.iterdir()} - {outline.uid for outline in outlines}:
        shutil.rmtree(cache / stale)
    for outline in tqdm(outlines, unit="case", desc="DICOM", disable=None):
        if not (cache / outline.uid).exists():
            _convert(outline, series[outline.series_uid], cache / outline.uid)
    return cache


def _cts_and_structures(data: Path) -> tuple[dict[str, list[DicomFile]], list[DicomFile]]:
    """Return the CT files by SeriesInstanceUID, and the structure sets; others are not for us."""
    try:
        files, _ = dicom_files(data) if data.is_dir() else ([], ())
    except SeriesRefused as refusal:
        raise TrainingRefused(str(refusal)) from refusal
    series: dict[str, list[DicomFile]] = {}
    for one in files:
        if one.is_ct:
            series.setdefault(one.series_uid, []).append(one)
    return series, [one for one in files if one.sop_class_uid == RTStructureSetStorage]


def _outline(file: DicomFile) -> _Outline:
    path = Path(str(file.path))
    try:
        structures = pydicom.dcmread(BytesIO(file.read()))
        return _Outline(
            path,
            str(structures.SOPInstanceUID),
            _referenced_series(structures, path),
            roi_polygons(structures, path, "liver"),
        )
    except (OutlineRefused, SeriesRefused) as refusal:
        raise TrainingRefused(str(refusal)) from refusal
    except (InvalidDicomError, OSError, EOFError, AttributeError, ValueError, TypeError) as error:
        # pydicom reads a file cut short as far as it goes.
        raise TrainingRefused(f"{path} is damaged or incomplete: {error}") from error


def _referenced_series(structures: pydicom.Dataset, path: Path) -> str:
    uids = {
        str(series.SeriesInstanceUID)
        for frame in structures.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
    }
    if len(uids) != 1:
        raise TrainingRefused(f"{path} refers to {len(uids)} CT series: it must refer to one")
    return uids.pop()


def _check_pairs(series: dict[str, list[DicomFile]], outlines: Sequence[_Outline]) -> None:
    outlined: dict[str, Path] = {}
    for outline in outlines:
        uid, path = outline.series_uid, outline.path
        if uid not in series:
            raise TrainingRefused(f"{path} outlines CT series {uid}, which is missing")
        if uid in outlined:
            raise TrainingRefused(f"{path} and {outlined[uid]} outline the same CT: keep one")
        outlined[uid] = path
    for uid, files in series.items():
        if uid not in outlined:
            raise TrainingRefused(f"{files[0].path.parent} has no RTSTRUCT for CT series {uid}")


def _convert(outline: _Outline, files: Sequence[DicomFile], folder: Path) -> None:
    """Write ct.nii.gz and liver.nii.gz; the folder appears only when both are complete."""
    try:
        series = read_ct_series((one.read() for one in files), min_slices=MINIMUM_SLICES)
    except SeriesRefused as refusal:
        raise TrainingRefused(f"{files[0].path.parent}: {refusal}") from refusal
    grid = series.volume.grid
    try:
        liver = _liver_mask(outline, grid)
    except OutlineRefused as refusal:
        raise TrainingRefused(str(refusal)) from refusal
    limits = np.iinfo(np.int16)
    hu = np.clip(np.rint(series.volume.hu), limits.min, limits.max).astype(np.int16)
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    write_nifti(part / "ct.nii.gz", hu, grid)
    write_nifti(part / "liver.nii.gz", liver.astype(np.uint8), grid)
    part.rename(folder)


def _liver_mask(outline: _Outline, grid: Grid) -> NDArray[np.bool_]:
    mask = mask_of(outline.polygons, grid, outline.path)
    gap = first_gap(mask)
    if gap is not None:
        raise TrainingRefused(
            f"{outline.path} leaves out slice {gap} between outlined ones: a network would "
            "learn that there is no liver; interpolate the outlines first"
        )
    return mask
