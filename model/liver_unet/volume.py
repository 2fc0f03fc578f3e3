"""The vocabulary of the whole project: where voxels are, and what they hold.

Arrays are always (slice, row, column). Points are always (x, y, z) in mm in DICOM's patient
frame (LPS: x to the patient's left, y to the back, z to the head).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A part of a (slice, row, column) array: slices with a start and a stop and no step.
Box = tuple[slice, slice, slice]


def box_of(mask: NDArray[np.bool_], margin: int = 0) -> Box:
    """Return the smallest box that holds a mask that is not empty, wider by margin voxels
    where the array goes on."""
    parts = []
    for axis, size in enumerate(mask.shape):
        along = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        first, last = int(along[0]), int(along[-1])
        parts.append(slice(max(first - margin, 0), min(last + margin + 1, size)))
    return parts[0], parts[1], parts[2]


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

    def to_mm(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (..., 3) indices, fractions allowed, to points in mm."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, point_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (..., 3) points in mm to fractional indices."""
        return np.asarray((point_mm - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T)

    def cropped(self, box: Box) -> Grid:
        """Return the grid of array[box]."""
        start = np.array([s.start for s in box], dtype=np.float64)
        affine = self.affine.copy()
        affine[:3, 3] = self.to_mm(start)
        z, y, x = (s.stop - s.start for s in box)
        return Grid((z, y, x), affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT: hu is (slice, row, column) in Hounsfield units on its grid."""

    hu: NDArray[np.int16] | NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        if self.hu.shape != self.grid.shape:
            raise ValueError(f"array shape {self.hu.shape} is not the grid's {self.grid.shape}")
