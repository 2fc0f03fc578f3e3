"""A liver's mask cut into parts, by a plane or by lassos: together they are the mask again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liver_unet.volume import Grid, Volume, box_of
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import Contour, on_own_slices, points_on_slice, polygons_of
from orthanc_liver.dicom.rtstruct_reader import pixels_inside
from orthanc_liver.dicom.uneven_slices import fill_between
from orthanc_liver.engine.protocol import LEFT_LOBE, NOT_PERFUSED, RIGHT_LOBE, Cut
from orthanc_liver.liver_errors import LiverError

Mask = NDArray[np.bool_]
# By slice, row and column of the first pixel, and whether the other is of the same row.
Border = dict[tuple[int, int, int, bool], float]

# Three points nearer to one line than this turn their plane with every tremor of the hand.
_LEAST_HEIGHT_MM = 10.0
# Of the plane's normal across the body; a plane that is flatter has no right side.
_LEAST_ACROSS = 0.2
# In voxels from the outermost centres, at the edge of which a point may be drawn.
_BESIDE = 0.6
_RIGHTWARDS = np.array([-1.0, 0.0, 0.0])


class CutRefused(LiverError):
    """The cut leaves no parts."""


def parts_of(mask: Mask, ct: Volume, cut: Cut) -> dict[str, Mask]:
    """The parts by their names, each on the CT's grid: a partition of the mask. What two lassos
    hold is the first one's.

    Raises CutRefused where the cut makes no sense, or one of the parts would be empty.
    """
    parts = _of_plane(mask, ct.grid, cut) if cut.plane else _of_lassos(mask, ct, cut)
    own = list(ct.own_slices)
    empty = [name for name, part in parts.items() if not part[own].any()]
    if empty:
        raise CutRefused(
            f"nothing of the liver is left for {' and '.join(map(repr, empty))}: the cut must "
            "run through the liver"
        )
    return parts


def border_of(contours_mm: Sequence[NDArray[np.float64]], grid: Grid) -> Border:
    """Where contours that trace_contours made pass between two neighbouring pixel centres."""
    border: Border = {}
    for contour in contours_mm:
        for place, row, column in grid.to_index(contour).tolist():
            key, crossing = _between(row, column)
            border[(round(place), *key)] = crossing
    return border


def trace_part(part: Mask, ct: Volume, border: Border) -> list[Contour]:
    """Its contours on the CT's own slices: the liver's where they follow it, so that the parts'
    areas are its area, and else half-way between pixels. ContoursDisagree as for a liver's."""
    contours = [
        Contour(number, points_on_slice(_moved(polygon, number, border), number, ct.grid))
        for number in ct.own_slices
        for polygon in polygons_of(part[number].astype(np.float32))
    ]
    box = box_of(part)
    own = np.isin(np.arange(box[0].start, box[0].stop), ct.own_slices)
    inner = part[box] & own[:, None, None]
    check_contours(contours, inner, ct.grid.cropped(box), box[0].start)
    return on_own_slices(contours, ct)


def _moved(polygon: NDArray[np.float64], number: int, border: Border) -> NDArray[np.float64]:
    moved = polygon.copy()
    for point, (row, column) in zip(moved, polygon.tolist(), strict=True):
        key, crossing = _between(row, column)
        point[int(key[2])] = border.get((number, *key), crossing)
    return moved


def _between(row: float, column: float) -> tuple[tuple[int, int, bool], float]:
    """The first of the two pixels that a point lies between, whether they are of one row, and
    where along it the point lies, or along their column."""
    if abs(row - round(row)) < abs(column - round(column)):
        return (round(row), math.floor(column), True), column
    return (math.floor(row), round(column), False), row


def _of_plane(mask: Mask, grid: Grid, cut: Cut) -> dict[str, Mask]:
    points_mm = _points(cut.plane)
    _check_place(points_mm, grid)
    start_mm, normal = points_mm[0], _rightward_normal(points_mm)
    along, down, across = normal @ grid.affine[:3, :3]
    in_plane = down * np.arange(grid.shape[1])[:, None] + across * np.arange(grid.shape[2])
    in_plane += normal @ (grid.affine[:3, 3] - start_mm)
    right = np.stack([plane & (in_plane + along * n >= 0) for n, plane in enumerate(mask)])
    return {RIGHT_LOBE: right, LEFT_LOBE: mask & ~right}


def _rightward_normal(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.roll(points_mm, -1, axis=0) - points_mm
    normal = np.cross(sides[0], sides[1])
    size = np.linalg.norm(normal)
    if size <= _LEAST_HEIGHT_MM * np.linalg.norm(sides, axis=1).max():
        raise CutRefused(
            "the three points lie almost on one line, which gives no plane: set them further apart"
        )
    rightward = float(normal @ _RIGHTWARDS) / size
    if abs(rightward) < _LEAST_ACROSS:
        raise CutRefused(
            "the plane lies across the body and does not separate right from left: set the "
            "points again, one of them well in front of or behind the others"
        )
    return np.asarray(normal / size * np.sign(rightward))


def _of_lassos(mask: Mask, ct: Volume, cut: Cut) -> dict[str, Mask]:
    parts, rest = {}, mask
    for number, drawings in enumerate(cut.lassos, start=1):
        region = _region(drawings, ct)
        parts[f"Perfused {number}"] = rest & region
        rest = rest & ~region
    return {**parts, NOT_PERFUSED: rest}


def _region(drawings: Sequence[Sequence[float]], ct: Volume) -> Mask:
    """What was drawn around, on its slices and between them; nothing beyond the first and last."""
    region = np.zeros(ct.grid.shape, dtype=bool)
    for drawing in drawings:
        points_mm = _points(drawing)
        _check_place(points_mm, ct.grid)
        index = ct.grid.to_index(points_mm)
        number = round(float(index[:, 0].mean()))
        if number not in ct.own_slices or np.abs(index[:, 0] - number).max() > 0.5:
            raise CutRefused("a lasso does not lie on one of the CT's slices: draw it on a slice")
        edges = np.stack([index[:, 1:], np.roll(index[:, 1:], -1, axis=0)], axis=1)
        region[number] |= pixels_inside(edges, ct.grid.shape[1:])
    drawn = np.flatnonzero(region.any(axis=(1, 2))).tolist()
    if len(drawn) < 2:
        raise CutRefused(
            "a region must be drawn on at least two slices, its first and its last, and hold "
            "pixels there: it is empty beyond them"
        )
    return fill_between(region, drawn, ct)


def _points(flat: Sequence[float]) -> NDArray[np.float64]:
    return np.array(flat, dtype=np.float64).reshape(-1, 3)


def _check_place(points_mm: NDArray[np.float64], grid: Grid) -> None:
    index, last = grid.to_index(points_mm), np.array(grid.shape) - 1
    if ((index < -_BESIDE) | (index > last + _BESIDE)).any():
        raise CutRefused("a point of the cut lies outside the CT's images: set it on a slice")
