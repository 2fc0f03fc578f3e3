"""Anybody's contour of a liver as a mask on the CT's grid: RTSTRUCT, DICOM SEG or NIfTI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from pydicom import Dataset

from liver_unet.liver import is_liver
from liver_unet.nifti import read_nifti
from liver_unet.resample import on_voxels_of
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.part10 import START_BYTES, starts_as_dicom
from orthanc_liver.dicom.roi_choice import EmptyOutline, OutlineRefused, RoiChoice
from orthanc_liver.dicom.rtstruct_reader import (
    RTSTRUCT,
    doubts_about_origin,
    mask_of,
    outline_of,
    read_outlines,
    roi_of,
)
from orthanc_liver.dicom.segmentation_reader import SEG, segment_of, segmented_series
from orthanc_liver.sirt.inputs import ActivityRefused
from orthanc_liver.sirt.roi_volume import gap_warnings

# A label that a header scaled there and back.
_ROUNDING = 0.01

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Contour:
    """mask: (slice, row, column) on the CT's grid; chosen: what the outline is called in its file;
    warnings: what was left out or may be read otherwise."""

    mask: Mask
    chosen: str
    warnings: tuple[str, ...] = ()


def read_contour(path: Path, choice: RoiChoice, ct: CtSeries) -> Contour:
    """Return what is meant in a file, or in the one RTSTRUCT or SEG of a folder.

    Raises EmptyOutline where it holds nothing, and OutlineRefused.
    """
    if not path.exists():
        raise OutlineRefused(f"{path} does not exist")
    if _is_dicom(path):
        path, dataset = read_outlines(path, RTSTRUCT | SEG)
        return contour_in(dataset, path, choice, ct)
    return _not_empty(_from_nifti(path, choice, ct), path)


def contour_in(dataset: Dataset, path: Path, choice: RoiChoice, ct: CtSeries) -> Contour:
    """Return what is meant in an RTSTRUCT or a SEG; path: for messages. Errors as above."""
    if dataset.get("SOPClassUID") in SEG:
        mask, label = segment_of(dataset, path, choice, ct)
        doubts = doubts_about_origin(
            segmented_series(dataset), str(dataset.get("PatientID", "")), ct
        )
        return _not_empty(Contour(mask, f"segment {label!r}", (*_gaps(mask, path), *doubts)), path)
    roi = roi_of(dataset, path, choice)
    found = outline_of(roi, ct, path)
    mask = mask_of(found, ct.volume, path)
    return Contour(mask, f"ROI {roi.name!r}", found.warnings)


def _not_empty(found: Contour, path: Path) -> Contour:
    if not found.mask.any():
        raise EmptyOutline(f"{path} outlines no voxel of its CT")
    return found


def _is_dicom(path: Path) -> bool:
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return starts_as_dicom(file.read(START_BYTES))


def _from_nifti(path: Path, choice: RoiChoice, ct: CtSeries) -> Contour:
    """A mask whose voxels are the CT's or some of them, along whatever axes they are stored."""
    try:
        array, own = read_nifti(path)
    except ImageFileError as error:
        raise OutlineRefused(str(error)) from error
    if not np.isfinite(array).all():
        raise OutlineRefused(f"{path} holds voxels that are no numbers: save the mask again")
    mask, chosen = _labelled(array, choice, path)
    placed = on_voxels_of(mask.astype(np.uint8), own, ct.volume.grid)
    if placed is None:
        raise OutlineRefused(f"{path} does not lie on the CT's voxels: save the mask on its CT")
    return Contour(placed > 0, chosen, _gaps(placed > 0, path))


def _gaps(mask: Mask, path: Path) -> tuple[str, ...]:
    """What is said of contours on some slices only holds for masks as well."""
    try:
        return tuple(gap_warnings(np.flatnonzero(mask.any(axis=(1, 2))).tolist()))
    except ActivityRefused as refusal:
        raise OutlineRefused(f"{path}: {refusal}") from refusal


def _labelled(array: NDArray[np.float32], choice: RoiChoice, path: Path) -> tuple[Mask, str]:
    """What is meant of an image of labels; a probability counts from one half on."""
    if array.min() >= 0 and array.max() <= 1:
        return is_liver(array), "the mask"
    labels = np.rint(array)
    if np.abs(array - labels).max() > _ROUNDING:
        raise OutlineRefused(f"{path} holds neither labels nor a probability: save it as a mask")
    there_are = {int(label) for label in np.unique(labels)} - {0}
    meant = choice.labels or there_are
    listed = ", ".join(map(str, sorted(there_are)))
    if len(there_are) > 1 and not choice.labels:
        raise OutlineRefused(f"{path} holds the labels {listed}: say which, such as 1 or 1+2")
    if not meant & there_are:
        raise EmptyOutline(f"{path} does not hold the label that is meant, but {listed}")
    return np.isin(labels, list(meant)), f"label {'+'.join(map(str, sorted(meant)))}"
