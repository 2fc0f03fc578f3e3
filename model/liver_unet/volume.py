"""The vocabulary of the whole project: where voxels are, and what they hold.

Arrays are always (slice, row, column). Points are always (x, y, z) in mm in DICOM's patient
frame (LPS: x to the patient's left, y to the back, z to the head).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A part of a (slice, row, column) array: slices with a start and a stop and no step.
Box = tuple[slice, slice, slice]
Shape = tuple[int, int, int]
# What stands where nothing was measured; and what is no brighter than air, padding or lung.
AIR_HU, AIRLIKE_HU = -1024, -500
# No gantry tilts as far; by less than the second, positions may be rounded.
LARGEST_LEAN_DEG, UPRIGHT_DEG = 35.0, 2.0
# Of each axis the two others.
_OTHERS = ((1, 2), (0, 2), (0, 1))


def box_of(mask: NDArray[np.bool_], margin: int = 0) -> Box:
    """Return the smallest box that holds a mask that is not empty, wider by margin voxels
    where the array goes on."""
    parts = []
    for others, size in zip(_OTHERS, mask.shape, strict=True):
        along = np.flatnonzero(mask.any(axis=others))
        first, last = int(along[0]), int(along[-1])
        parts.append(slice(max(first - margin, 0), min(last + margin + 1, size)))
    return parts[0], parts[1], parts[2]


def widened(box: Box, least: Sequence[int], shape: Sequence[int]) -> Box:
    """Return a box that is at least so long along each axis, to both sides alike, as far as an
    array of this shape reaches."""
    parts = []
    for part, shortest, size in zip(box, least, shape, strict=True):
        length = max(shortest, part.stop - part.start)
        first = max(0, min(part.start - (length - (part.stop - part.start)) // 2, size - length))
        parts.append(slice(first, min(size, first + length)))
    return parts[0], parts[1], parts[2]


def fullest_sections(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return the slice, the row and the column in which most of a mask lies."""
    z, y, x = (int(mask.sum(axis=others).argmax()) for others in _OTHERS)
    return z, y, x


def lean_deg(affine: NDArray[np.float64]) -> float:
    """See Grid.lean_deg."""
    along, down, across = affine[:3, :3].T
    normal = np.cross(down, across)
    cosine = abs(along @ normal) / (np.linalg.norm(along) * np.linalg.norm(normal))
    return float(np.rad2deg(np.arccos(min(cosine, 1.0))))


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel centres in patient space; the affine may be oblique, mirrored or sheared.

    shape: voxels along (slice, row, column).
    affine: (4, 4) float64, takes (slice, row, column, 1) to (x, y, z, 1) in mm, LPS.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("a grid's affine must be a finite 4 x 4 matrix")
        if abs(np.linalg.det(affine)) < 1e-9:
            raise ValueError("a grid's affine must be invertible: two axes point the same way")
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance of neighbours along (slice, row, column): along a sheared axis, not across."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, right for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def lean_deg(self) -> float:
        """How far the stack of slices leans against their normal, as where a gantry is tilted."""
        return lean_deg(self.affine)

    def to_mm(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (..., 3) indices, fractions allowed, to points in mm."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, point_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (..., 3) points in mm to fractional indices."""
        return np.asarray((point_mm - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T)

    def corners_mm(self, beyond: float = 0.0) -> NDArray[np.float64]:
        """Return the (8, 3) centres of the corners' voxels, or of those `beyond` voxels further."""
        ends = [(-beyond, n - 1 + beyond) for n in self.shape]
        return self.to_mm(np.array(list(itertools.product(*ends))))

    def box_around(self, points_mm: NDArray[np.float64], margin: ArrayLike = 0) -> Box:
        """Return the smallest box that holds (n, 3) points, wider by margin voxels along each axis,
        as far as the grid goes; never empty."""
        index, last = self.to_index(points_mm), np.array(self.shape) - 1
        first = np.clip(np.floor(index.min(axis=0) - margin), 0, last).astype(int)
        stop = np.clip(np.ceil(index.max(axis=0) + margin), 0, last).astype(int) + 1
        z, y, x = (slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
        return z, y, x

    def cropped(self, box: Box) -> Grid:
        """Return the grid of array[box]."""
        start = np.array([s.start for s in box], dtype=np.float64)
        affine = self.affine.copy()
        affine[:3, 3] = self.to_mm(start)
        z, y, x = (s.stop - s.start for s in box)
        return Grid((z, y, x), affine)

    def resized(self, shape: tuple[int, int, int]) -> Grid:
        """Return the grid of so many voxels over the same extent."""
        larger = np.array(self.shape) / np.array(shape)
        affine = self.affine.copy()
        affine[:3, :3] *= larger
        affine[:3, 3] = self.to_mm((larger - 1) / 2)
        return Grid(shape, affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT: hu is (slice, row, column) in Hounsfield units on its grid.

    measured: the CT's own slices, ascending, where the others lie interpolated between them;
    empty: all.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    grid: Grid
    measured: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.hu.shape != self.grid.shape:
            raise ValueError(f"array shape {self.hu.shape} is not the grid's {self.grid.shape}")

    @property
    def own_slices(self) -> tuple[int, ...]:
        """The indices of the CT's own slices."""
        return self.measured or tuple(range(self.grid.shape[0]))

    def number_of(self, index: int) -> int:
        """What people call a slice, the nearest of the CT's own, counted from 1."""
        if not self.measured:
            return index + 1
        return 1 + int(np.abs(np.array(self.measured) - index).argmin())
