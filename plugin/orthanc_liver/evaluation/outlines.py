"""Anybody's contour of a liver as a mask on the CT's grid: RTSTRUCT, DICOM SEG or NIfTI."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import torch
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from liver_unet.nifti import read_nifti
from liver_unet.resample import resample
from liver_unet.volume import Grid
from orthanc_liver.dicom.part10 import START_BYTES, completed, starts_as_dicom
from orthanc_liver.dicom.rtstruct_reader import OutlineRefused, mask_of, roi_polygons

# Headers keep single precision, and a long table multiplies its rounding.
_SAME_PLACE_MM = 0.1

Mask = NDArray[np.bool_]


class EmptyOutline(OutlineRefused):
    """The outline fits its CT and holds no voxel: whoever drew it found no liver."""


def read_contour(path: Path, pattern: str, grid: Grid) -> Mask:
    """Return (slice, row, column) on the CT's grid; raises OutlineRefused.

    pattern: a regular expression that the name of exactly one ROI or segment holds; not for NIfTI.
    """
    if not path.is_file():
        raise OutlineRefused(f"{path} is not a file")
    with path.open("rb") as file:
        is_dicom = starts_as_dicom(file.read(START_BYTES))
    mask = _from_dicom(path, pattern, grid) if is_dicom else _from_nifti(path, grid)
    if not mask.any():
        raise EmptyOutline(f"{path} outlines no voxel of its CT")
    return mask


def _from_dicom(path: Path, pattern: str, grid: Grid) -> Mask:
    try:
        dataset = pydicom.dcmread(BytesIO(completed(path.read_bytes())))
        if dataset.SOPClassUID == RTStructureSetStorage:
            return mask_of(roi_polygons(dataset, path, pattern), grid, path)
        if dataset.SOPClassUID == SegmentationStorage:
            return _from_segmentation(dataset, path, pattern, grid)
    except (InvalidDicomError, OSError, EOFError, AttributeError, ValueError, TypeError) as error:
        raise OutlineRefused(f"{path} is damaged or incomplete ({type(error).__name__})") from error
    raise OutlineRefused(f"{path} is neither an RTSTRUCT nor a SEG")


def _from_nifti(path: Path, grid: Grid) -> Mask:
    """A mask whose voxels are the CT's, along whatever axes they are stored."""
    try:
        array, own = read_nifti(path)
    except ImageFileError as error:
        raise OutlineRefused(str(error)) from error
    index = own.to_index(grid.corners_mm())
    off_mm = np.abs(own.to_mm(np.rint(index)) - own.to_mm(index)).max()
    same_size = sorted(own.shape) == sorted(grid.shape)
    inside = (np.rint(index) >= 0).all() and (np.rint(index) < own.shape).all()
    if off_mm > _SAME_PLACE_MM or not same_size or not inside:
        raise OutlineRefused(f"{path} does not lie on the CT's voxels: save the mask on its CT")
    labels = torch.from_numpy((array > 0.5).astype(np.uint8))
    return resample(labels, own, grid, fill=0.0, nearest=True).numpy() > 0.5


def _from_segmentation(dataset: pydicom.Dataset, path: Path, pattern: str, grid: Grid) -> Mask:
    labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in dataset.SegmentSequence}
    found = [n for n, label in labels.items() if re.search(pattern, label, re.IGNORECASE)]
    if len(found) != 1:
        names = ", ".join(map(repr, labels.values()))
        raise OutlineRefused(f"{path}: {len(found)} segments are named {pattern} ({names})")
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    whole = int(dataset.get("MaximumFractionalValue", 1))
    mask = np.zeros(grid.shape, dtype=bool)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for frame, own in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        segment = _group(own, shared, "SegmentIdentificationSequence")
        if int(segment.ReferencedSegmentNumber) != found[0]:
            continue
        index = _frame_index(own, shared, frame.shape, grid)
        if index is None:
            raise OutlineRefused(f"{path} has a frame that does not lie on a slice of the CT")
        mask[index] |= frame > whole / 2
    return mask


def _frame_index(
    own: pydicom.Dataset, shared: pydicom.Dataset, shape: tuple[int, ...], grid: Grid
) -> int | None:
    """Which slice of the grid a frame lies on, pixel by pixel; None where on none."""
    orientation = _group(own, shared, "PlaneOrientationSequence").ImageOrientationPatient
    along_row, down_column = np.array(orientation, dtype=float).reshape(2, 3)
    spacing = _group(own, shared, "PixelMeasuresSequence").PixelSpacing
    position = _group(own, shared, "PlanePositionSequence").ImagePositionPatient
    first = np.array(position, dtype=float)
    last = (
        first
        + down_column * float(spacing[0]) * (shape[0] - 1)
        + along_row * float(spacing[1]) * (shape[1] - 1)
    )
    index = round(float(grid.to_index(first)[0]))
    ends = np.array([[index, 0, 0], [index, shape[0] - 1, shape[1] - 1]], dtype=float)
    apart_mm = np.abs(grid.to_mm(ends) - np.stack([first, last])).max()
    fits = shape == grid.shape[1:] and 0 <= index < grid.shape[0] and apart_mm <= _SAME_PLACE_MM
    return index if fits else None


def _group(own: pydicom.Dataset, shared: pydicom.Dataset, keyword: str) -> pydicom.Dataset:
    item: pydicom.Dataset = (own if keyword in own else shared)[keyword][0]
    return item
