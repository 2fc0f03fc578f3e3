"""Anybody's RTSTRUCT: its ROIs by name, and one of them as a mask on its CT's grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from liver_unet.volume import Grid
from orthanc_liver.liver_errors import LiverError

# Other systems round contours to 0.01 mm or so, and thin slices are 0.5 mm apart.
_OFF_PLANE_MM = 0.2
_PLANAR = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}

Polygons = list[NDArray[np.float64]]


class OutlineRefused(LiverError):
    """The structure set has no such outline, or it does not fit its CT."""


def roi_polygons(structures: pydicom.Dataset, path: Path, pattern: str) -> Polygons:
    """Return the polygons (n, 3) in mm of the only ROI whose name holds the pattern.

    pattern: a regular expression, capitals or not. path: for messages. Raises OutlineRefused.
    """
    rois = {int(roi.ROINumber): str(roi.ROIName) for roi in structures.StructureSetROISequence}
    found = [number for number, name in rois.items() if re.search(pattern, name, re.IGNORECASE)]
    if len(found) != 1:
        among = found or list(rois)
        names = ", ".join(repr(rois[number]) for number in among) or "none at all"
        said = "no ROI is" if not found else "several ROIs are"
        raise OutlineRefused(f"{path}: {said} named {pattern} ({names}): exactly one must be")
    contours = [
        contour
        for roi in structures.ROIContourSequence
        if int(roi.ReferencedROINumber) == found[0]
        for contour in roi.get("ContourSequence", [])
    ]
    if not contours:
        raise OutlineRefused(f"{path} outlines an empty {pattern}")
    for contour in contours:
        kind = contour.ContourGeometricType
        if kind not in _PLANAR or len(contour.ContourData) < 9:
            raise OutlineRefused(f"{path} has a {pattern} contour that is no polygon ({kind})")
    return [np.array(c.ContourData, dtype=np.float64).reshape(-1, 3) for c in contours]


def mask_of(
    polygons_mm: Sequence[NDArray[np.float64]], grid: Grid, path: Path
) -> NDArray[np.bool_]:
    """Rasterise contours; on one slice they exclude each other, so holes stay open."""
    mask = np.zeros(grid.shape, dtype=bool)
    for points_mm in polygons_mm:
        index = grid.to_index(points_mm)
        slice_index = round(float(index[:, 0].mean()))
        # |gradient of the slice coordinate| is its change per mm across the planes.
        per_mm = np.linalg.norm(np.linalg.inv(grid.affine)[0, :3])
        off_mm = float(np.abs(index[:, 0] - slice_index).max() / per_mm)
        if off_mm > _OFF_PLANE_MM or not 0 <= slice_index < grid.shape[0]:
            raise OutlineRefused(
                f"{path} has a contour {off_mm:.2f} mm off the CT's slices "
                f"(nearest is slice {slice_index} of {grid.shape[0]}): outlines and CT do not match"
            )
        mask[slice_index] ^= _inside(index[:, 1:], grid.shape[1:])
    if not mask.any():
        raise OutlineRefused(f"{path} outlines no pixel of its CT")
    return mask


def first_gap(mask: NDArray[np.bool_]) -> int | None:
    """The first slice without a pixel between slices with some."""
    outlined = np.flatnonzero(mask.any(axis=(1, 2)))
    gaps = np.setdiff1d(np.arange(outlined[0], outlined[-1]), outlined)
    return int(gaps[0]) if len(gaps) else None


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
