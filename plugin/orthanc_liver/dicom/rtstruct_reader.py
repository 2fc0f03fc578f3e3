"""Anybody's RTSTRUCT: its ROIs by name, and one of them as a mask on its CT's grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from liver_unet.volume import Grid
from orthanc_liver.liver_errors import LiverError
from orthanc_liver.sirt.planar import Polygon, polygon, regions

# Other systems round contours to 0.01 mm or so, and thin slices are 0.5 mm apart.
_OFF_PLANE_MM = 0.2
_PLANAR = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}


@dataclass(frozen=True, eq=False)
class Polygons:
    """An ROI's contours, each (n, 3) in mm. exclusive: CLOSEDPLANAR_XOR."""

    points_mm: list[NDArray[np.float64]]
    exclusive: bool = False


class OutlineRefused(LiverError):
    """The structure set has no such outline, or it does not fit its CT."""


def roi_polygons(structures: pydicom.Dataset, path: Path, pattern: str) -> Polygons:
    """Return the polygons (n, 3) in mm of the only ROI whose name holds the pattern.

    pattern: a regular expression, capitals or not. path: for messages. Some may have one or
    two points and enclose nothing. Raises OutlineRefused.
    """
    if "StructureSetROISequence" not in structures or "ROIContourSequence" not in structures:
        raise OutlineRefused(f"{path} is no RTSTRUCT with contours")
    rois = {
        int(roi.ROINumber): str(roi.get("ROIName", ""))
        for roi in structures.StructureSetROISequence
    }
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
    kinds = {str(contour.get("ContourGeometricType", "")) for contour in contours}
    if others := ", ".join(sorted(kinds - _PLANAR)):
        raise OutlineRefused(f"{path} has a {pattern} contour that is no polygon ({others})")
    numbers = [np.array(c.get("ContourData") or [], dtype=np.float64) for c in contours]
    if any(one.size % 3 or not np.isfinite(one).all() for one in numbers):
        raise OutlineRefused(f"{path} has a {pattern} contour that cannot be read")
    points = [one.reshape(-1, 3) for one in numbers]
    if not any(len(one) > 2 for one in points):
        raise OutlineRefused(f"{path} has no {pattern} contour of three points or more")
    return Polygons(points, "CLOSEDPLANAR_XOR" in kinds)


def mask_of(polygons: Polygons, grid: Grid, path: Path) -> NDArray[np.bool_]:
    """Rasterise contours, those of one slice as sirt/planar.py has them belong together."""
    by_slice: dict[int, list[Polygon]] = {}
    for points_mm in polygons.points_mm:
        if len(points_mm) < 3:
            continue
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
        corners = [(row, column) for row, column in index[:, 1:].tolist()]
        by_slice.setdefault(slice_index, []).append(polygon(corners))
    mask = np.zeros(grid.shape, dtype=bool)
    for slice_index, drawn in by_slice.items():
        for region in regions(drawn, exclusive=polygons.exclusive):
            inside = [_inside(np.array(one), grid.shape[1:]) for one in region]
            mask[slice_index] ^= np.logical_or.reduce(inside)
    if not mask.any():
        raise OutlineRefused(f"{path} outlines no pixel of its CT")
    return mask


def first_gap(mask: NDArray[np.bool_]) -> int | None:
    """The first slice without a pixel between slices with some."""
    outlined = np.flatnonzero(mask.any(axis=(1, 2)))
    gaps = np.setdiff1d(np.arange(outlined[0], outlined[-1]), outlined)
    return int(gaps[0]) if len(gaps) else None


def _inside(edges: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixel centres lie inside a polygon, even-odd; edges: (n, 2 ends, 2)."""
    rows, columns = shape
    turns = np.zeros((rows, columns + 1), dtype=bool)
    for start, end in edges.tolist():
        (row0, column0), (row1, column1) = sorted([tuple(start), tuple(end)])
        lines = np.arange(max(0, int(np.ceil(row0))), min(rows, int(np.ceil(row1))))
        if len(lines):
            column = column0 + (column1 - column0) * (lines - row0) / (row1 - row0)
            turns[lines, np.clip(np.ceil(column), 0, columns).astype(int)] ^= True
    return np.asarray(np.logical_xor.accumulate(turns[:, :columns], axis=1))
