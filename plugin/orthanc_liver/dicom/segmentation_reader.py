"""Anybody's DICOM SEG: one segment of it as a mask on its CT's grid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from liver_unet.volume import Grid
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.roi_choice import OutlineRefused, RoiChoice
from orthanc_liver.dicom.rtstruct_reader import check_frame_of, refusing_damaged
from orthanc_liver.dicom.uneven_slices import interpolate_mask

# The second: Label Map Segmentation Storage.
SEG: dict[str, str] = {SegmentationStorage: "SEG", "1.2.840.10008.5.1.4.1.1.66.7": "SEG"}
# Headers keep single precision, and a long table multiplies its rounding.
_SAME_PLACE_MM = 0.1

Mask = NDArray[np.bool_]


def segment_of(
    dataset: pydicom.Dataset, path: Path, choice: RoiChoice, ct: CtSeries
) -> tuple[Mask, str]:
    """Return the segment that is meant on the CT's grid, and its label; raises OutlineRefused.

    Each frame lies where its own position says, whatever image it names as its source.
    """
    with refusing_damaged(path):
        check_frame_of(str(dataset.get("FrameOfReferenceUID") or ""), ct, path)
        named = {int(one.SegmentNumber): one for one in dataset.SegmentSequence}
        if len(named) < len(dataset.SegmentSequence):
            raise OutlineRefused(f"{path} gives one SegmentNumber to several segments")
        labels = {n: str(one.get("SegmentLabel") or "").strip() for n, one in named.items()}
        drawn = list(_drawn(dataset, path))
        number = choice.among(labels, {segment for segment, _, _ in drawn}, path)
        mask = np.zeros(ct.volume.grid.shape, dtype=bool)
        for segment, pixels, own in drawn:
            if segment == number:
                slice_index, row, column = _first_voxel(dataset, own, pixels, ct.volume.grid, path)
                rows, columns = pixels.shape
                mask[slice_index, row : row + rows, column : column + columns] |= pixels
        return interpolate_mask(mask, ct.volume), labels[number]


def segmented_series(dataset: pydicom.Dataset) -> frozenset[str]:
    """The series that a SEG says it was drawn on."""
    series = dataset.get("ReferencedSeriesSequence") or []
    return frozenset(str(one.get("SeriesInstanceUID") or "") for one in series) - {""}


def _drawn(dataset: pydicom.Dataset, path: Path) -> Iterator[tuple[int, Mask, pydicom.Dataset]]:
    """Yield of every frame each segment in it, where it is, and the frame's own attributes."""
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    is_label_map = dataset.SegmentationType == "LABELMAP"
    half = int(dataset.get("MaximumFractionalValue", 1)) / 2
    for frame, own in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if is_label_map:
            for segment in np.unique(frame[frame > 0]).tolist():
                yield segment, frame == segment, own
        elif (pixels := frame > half).any():
            identified = _group(dataset, own, "SegmentIdentificationSequence", path)
            yield int(identified.ReferencedSegmentNumber), pixels, own


def _first_voxel(
    dataset: pydicom.Dataset, own: pydicom.Dataset, pixels: Mask, grid: Grid, path: Path
) -> tuple[int, int, int]:
    """The voxel of the grid on which a frame's first pixel lies, all others on those beside it."""
    orientation = _group(dataset, own, "PlaneOrientationSequence", path).ImageOrientationPatient
    along_row, down_column = np.array(orientation, dtype=float).reshape(2, 3)
    spacing = _group(dataset, own, "PixelMeasuresSequence", path).PixelSpacing
    position = _group(dataset, own, "PlanePositionSequence", path).ImagePositionPatient
    first = np.array(position, dtype=float)
    last_pixel = np.array(pixels.shape) - 1
    down_mm, along_mm = last_pixel * np.array(spacing, dtype=float)
    ends_mm = np.stack([first, first + down_column * down_mm + along_row * along_mm])
    start = np.rint(grid.to_index(first)).astype(int)
    ends = np.array([[0, 0, 0], [0, *last_pixel]]) + start
    apart_mm = np.abs(grid.to_mm(ends.astype(float)) - ends_mm).max()
    inside = ends.min() >= 0 and (ends < grid.shape).all()
    if not (inside and apart_mm <= _SAME_PLACE_MM):  # where apart_mm is no number, too
        raise OutlineRefused(f"{path} has a frame that does not lie on a slice of the CT")
    slice_index, row, column = start.tolist()
    return slice_index, row, column


def _group(
    dataset: pydicom.Dataset, own: pydicom.Dataset, keyword: str, path: Path
) -> pydicom.Dataset:
    """A frame's own functional group, else the one that all share."""
    for groups in (own, *dataset.get("SharedFunctionalGroupsSequence", [])):
        if items := groups.get(keyword):
            item: pydicom.Dataset = items[0]
            return item
    raise OutlineRefused(f"{path} has a frame without {keyword}: it does not say where it lies")
