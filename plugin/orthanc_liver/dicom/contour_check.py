"""The last look before contours leave: rasterised again, are they the mask?

Nothing here is taken from the tracing: another algorithm, its own way back from mm to pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liver_unet.volume import Grid
from orthanc_liver.dicom.contours import Contour
from orthanc_liver.liver_errors import ContoursDisagree

# Rounding to 0.0001 mm moves a point off its plane by less than 0.0001 mm; a wrong slice or a
# wrong axis by far more than this.
PLANE_TOLERANCE_MM = 0.001

_OUR_FAULT = "nothing was stored; this is a fault in orthanc-liver, please report it"


def check_contours(
    contours: Sequence[Contour], mask: NDArray[np.bool_], grid: Grid, first_slice: int = 0
) -> None:
    """Raise ContoursDisagree unless the contours cover exactly the mask's pixel centres, each once.

    mask: (slice, row, column) on grid; first_slice as in tracing.
    """
    covered = np.zeros(mask.shape, dtype=np.int16)
    for contour in contours:
        index = contour.slice_index - first_slice
        points = _pixel_coordinates(contour, index, grid)
        covered[index] += _covered_centres(points, mask.shape[1:])
    wrong = np.count_nonzero(covered != mask, axis=(1, 2))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ContoursDisagree(
            f"The contours of slice {first_slice + first} differ from the mask in {wrong[first]} "
            f"pixels (in all {wrong.sum()} pixels on {np.count_nonzero(wrong)} slices); "
            f"{_OUR_FAULT}."
        )


def _pixel_coordinates(contour: Contour, index: int, grid: Grid) -> NDArray[np.float64]:
    """Return (n, 2) fractional (row, column) of a contour that lies where it should."""
    slices, rows, columns = grid.shape
    name = f"A contour of slice {contour.slice_index}"
    if len(contour.points_mm) < 3:
        raise ContoursDisagree(f"{name} has fewer than three points; {_OUR_FAULT}.")
    to_index = np.linalg.inv(grid.affine)
    points = contour.points_mm @ to_index[:3, :3].T + to_index[:3, 3]
    # |gradient of the slice coordinate| is its change per mm across the planes.
    off_plane_mm = np.abs(points[:, 0] - index) / np.linalg.norm(to_index[0, :3])
    if not (off_plane_mm < PLANE_TOLERANCE_MM).all():
        raise ContoursDisagree(
            f"{name} lies up to {off_plane_mm.max():.4f} mm off that slice's plane; {_OUR_FAULT}."
        )
    inside = (points[:, 1:] > -1) & (points[:, 1:] < [rows, columns])
    if not (0 <= index < slices and inside.all()):
        raise ContoursDisagree(f"{name} reaches beyond the mask's box; {_OUR_FAULT}.")
    return np.asarray(points[:, 1:])


def _covered_centres(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Rasterise one polygon by the even-odd rule, scan line by scan line: 1 inside, 0 outside."""
    rows, columns = shape
    start, end = points, np.roll(points, -1, axis=0)
    # Every edge downwards: a bridge there and one back then cross a scan line at the same bit.
    upward = (start[:, 0] > end[:, 0])[:, None]
    top, bottom = np.where(upward, end, start), np.where(upward, start, end)
    first_row = np.ceil(top[:, 0]).astype(np.intp)
    lines = np.ceil(bottom[:, 0]).astype(np.intp) - first_row
    edge = np.repeat(np.arange(len(points)), lines)
    row = first_row[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(lines) - lines, lines)
    (row0, column0), (row1, column1) = top[edge].T, bottom[edge].T
    crossing = column0 + (column1 - column0) * (row - row0) / (row1 - row0)
    crossings = np.zeros((rows, columns + 1), dtype=np.uint8)
    np.add.at(crossings, (row, np.ceil(crossing).astype(np.intp)), np.uint8(1))
    return np.cumsum(crossings[:, :columns], axis=1, dtype=np.uint8) & np.uint8(1)
