"""Train on whatever the researcher has: DICOM is turned into case folders first.

One CT series and the one RTSTRUCT that refers to it are one case. The model's side knows no DICOM.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from tqdm import tqdm

from liver_unet import training
from liver_unet.errors import TrainingRefused
from liver_unet.nifti import write_nifti
from liver_unet.segmenter import chosen_device
from liver_unet.volume import Grid
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.errors import SeriesRefused

# Other systems round contours to 0.01 mm or so, and thin slices are 0.5 mm apart.
_OFF_PLANE_MM = 0.2
_PLANAR = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}


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
    polygons_mm: list[NDArray[np.float64]]


def prepared(data: Path, cache: Path) -> Path:
    """Return data, or cache with DICOM cases converted to folders named by RTSTRUCT UID.

    Raises TrainingRefused where CT and RTSTRUCT do not pair, or an outline does not fit its CT.
    """
    series, structures = _dicom_files(data)
    if not series and not structures:
        return data
    if images := sorted(data.rglob("*.nii*")):
        raise TrainingRefused(f"{data} holds DICOM and NIfTI ({images[0]}): give one of them")
    outlines = [_outline(path) for path in structures]
    _check_pairs(series, outlines)
    cache.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in cache.iterdir()} - {outline.uid for outline in outlines}:
        shutil.rmtree(cache / stale)
    for outline in tqdm(outlines, unit="case", desc="DICOM", disable=None):
        if not (cache / outline.uid).exists():
            _convert(outline, series[outline.series_uid], cache / outline.uid)
    return cache


def _dicom_files(data: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the CT files by SeriesInstanceUID, and the structure sets; others are not for us."""
    series: dict[str, list[Path]] = {}
    structures = []
    for path in sorted(p for p in data.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                continue
        header = _read(path, ["Modality", "SeriesInstanceUID"])
        if "Modality" not in header and not path.name.startswith("DICOMDIR"):
            raise TrainingRefused(f"{path} is damaged: it has no Modality")
        if header.get("Modality") == "CT":
            series.setdefault(str(header.get("SeriesInstanceUID")), []).append(path)
        elif header.get("Modality") == "RTSTRUCT":
            structures.append(path)
    return series, structures


def _read(path: Path, tags: list[str] | None = None) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError) as error:
        raise TrainingRefused(f"{path} cannot be read as DICOM: {error}") from error


def _outline(path: Path) -> _Outline:
    structures = _read(path)
    try:
        return _Outline(
            path,
            str(structures.SOPInstanceUID),
            _referenced_series(structures, path),
            _liver_polygons(structures, path),
        )
    except (AttributeError, ValueError, TypeError) as error:
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


def _liver_polygons(structures: pydicom.Dataset, path: Path) -> list[NDArray[np.float64]]:
    rois = {int(roi.ROINumber): str(roi.ROIName) for roi in structures.StructureSetROISequence}
    livers = [number for number, name in rois.items() if re.search("liver", name, re.IGNORECASE)]
    if len(livers) != 1:
        among = livers or list(rois)
        names = ", ".join(repr(rois[number]) for number in among) or "none at all"
        found = "no ROI is" if not livers else "several ROIs are"
        raise TrainingRefused(f"{path}: {found} named liver ({names}): exactly one must be")
    contours = [
        contour
        for roi in structures.ROIContourSequence
        if int(roi.ReferencedROINumber) == livers[0]
        for contour in roi.get("ContourSequence", [])
    ]
    if not contours:
        raise TrainingRefused(f"{path} outlines an empty liver")
    for contour in contours:
        kind = contour.ContourGeometricType
        if kind not in _PLANAR or len(contour.ContourData) < 9:
            raise TrainingRefused(f"{path} has a liver contour that is no polygon ({kind})")
    return [np.array(c.ContourData, dtype=np.float64).reshape(-1, 3) for c in contours]


def _check_pairs(series: dict[str, list[Path]], outlines: Sequence[_Outline]) -> None:
    outlined: dict[str, Path] = {}
    for outline in outlines:
        uid, path = outline.series_uid, outline.path
        if uid not in series:
            raise TrainingRefused(f"{path} outlines CT series {uid}, which is missing")
        if uid in outlined:
            raise TrainingRefused(f"{path} and {outlined[uid]} outline the same CT: keep one")
        outlined[uid] = path
    for uid, paths in series.items():
        if uid not in outlined:
            raise TrainingRefused(f"{paths[0].parent} has no RTSTRUCT for CT series {uid}")


def _convert(outline: _Outline, paths: Sequence[Path], folder: Path) -> None:
    """Write ct.nii.gz and liver.nii.gz; the folder appears only when both are complete."""
    try:
        series = read_ct_series(path.read_bytes() for path in paths)
    except SeriesRefused as refusal:
        raise TrainingRefused(f"{paths[0].parent}: {refusal}") from refusal
    grid = series.volume.grid
    liver = _liver_mask(outline, grid)
    limits = np.iinfo(np.int16)
    hu = np.clip(np.rint(series.volume.hu), limits.min, limits.max).astype(np.int16)
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    write_nifti(part / "ct.nii.gz", hu, grid)
    write_nifti(part / "liver.nii.gz", liver.astype(np.uint8), grid)
    part.rename(folder)


def _liver_mask(outline: _Outline, grid: Grid) -> NDArray[np.bool_]:
    """Rasterise the liver's contours; on one slice they exclude each other, so holes stay open."""
    mask = np.zeros(grid.shape, dtype=bool)
    for points_mm in outline.polygons_mm:
        index = grid.to_index(points_mm)
        slice_index = round(float(index[:, 0].mean()))
        # |gradient of the slice coordinate| is its change per mm across the planes.
        per_mm = np.linalg.norm(np.linalg.inv(grid.affine)[0, :3])
        off_mm = float(np.abs(index[:, 0] - slice_index).max() / per_mm)
        if off_mm > _OFF_PLANE_MM or not 0 <= slice_index < grid.shape[0]:
            raise TrainingRefused(
                f"{outline.path} has a liver contour {off_mm:.2f} mm off the CT's slices "
                f"(nearest is slice {slice_index} of {grid.shape[0]}): outlines and CT do not match"
            )
        mask[slice_index] ^= _inside(index[:, 1:], grid.shape[1:])
    outlined = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(outlined):
        raise TrainingRefused(f"{outline.path} outlines no pixel of its CT")
    gaps = np.setdiff1d(np.arange(outlined[0], outlined[-1]), outlined)
    if len(gaps):
        raise TrainingRefused(
            f"{outline.path} leaves out slice {gaps[0]} between outlined ones: a network would "
            "learn that there is no liver; interpolate the outlines first"
        )
    return mask


def _inside(polygon: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixel centres lie inside a polygon of (row, column) points, even-odd."""
    rows, columns = shape
    turns = np.zeros((rows, columns + 1), dtype=bool)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        (row0, column0), (row1, column1) = sorted([tuple(start), tuple(end)])
        lines = np.arange(max(0, int(np.ceil(row0))), min(rows, int(np.ceil(row1))))
        if len(lines):
            column = column0 + (column1 - column0) * (lines - row0) / (row1 - row0)
            turns[lines, np.clip(np.ceil(column), 0, columns).astype(int)] ^= True
    return np.asarray(np.logical_xor.accumulate(turns[:, :columns], axis=1))
