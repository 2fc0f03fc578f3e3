"""Where the images of a stack lie: one affine for all of them, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liver_unet.volume import LARGEST_LEAN_DEG, lean_deg
from orthanc_liver.liver_errors import SeriesRefused
from orthanc_liver.sirt.slice_places import (
    POSITION_TOLERANCE_MM,
    expected_gaps_mm,
    places_of,
    tolerance_mm,
)

# Cosines written with three decimals pass as unit vectors at right angles.
_COSINE_TOLERANCE = 1e-3
# Within one stack they are written by one writer: 1e-4 over 400 mm moves a pixel by 0.04 mm.
_PARALLEL_TOLERANCE = 1e-4
# Beyond these a value is damaged, and what follows from it would fill any memory.
_FARTHEST_MM = 20_000.0
_WIDEST_PIXEL_MM = 50.0


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """One image's place in the patient, points in mm LPS, directions of unit length.

    position_mm: (3,) centre of the first pixel. along_row, along_column: (3,) the way the column
    index and the row index grow. spacing_mm: (2,) between rows, between columns.
    """

    sop_instance_uid: str
    position_mm: NDArray[np.float64]
    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Row x column: the way the slices of a volume are stacked."""
        return np.asarray(np.cross(self.along_row, self.along_column))

    def is_parallel_to(self, other: ImagePlane) -> bool:
        """Whether rows and columns run the same way, and not only in the same plane."""
        differences = (self.along_row - other.along_row, self.along_column - other.along_column)
        return bool(np.abs(differences).max() <= _PARALLEL_TOLERANCE)

    def crosses(self, other: ImagePlane) -> bool:
        """Whether the planes meet at more than 45 degrees, as a localizer meets its slices."""
        return bool(abs(self.normal @ other.normal) < np.sqrt(0.5))


def image_plane(
    sop_instance_uid: str,
    position_mm: NDArray[np.float64],
    orientation: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
) -> ImagePlane:
    """Check one image's ImagePositionPatient, ImageOrientationPatient and PixelSpacing."""
    along_row, along_column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if np.abs(lengths - 1).max() > _COSINE_TOLERANCE:
        raise SeriesRefused(
            f"ImageOrientationPatient of instance {sop_instance_uid} does not hold direction "
            "cosines (each triple must have length 1); export the series again from its source."
        )
    if abs(along_row @ along_column) > _COSINE_TOLERANCE:
        raise SeriesRefused(
            f"The rows and columns of instance {sop_instance_uid} are not at right angles "
            "(ImageOrientationPatient); export the series again from its source."
        )
    if spacing_mm.min() <= 0:
        raise SeriesRefused(
            f"PixelSpacing of instance {sop_instance_uid} is not positive; "
            "export the series again from its source."
        )
    for keyword, values, limit_mm in (
        ("ImagePositionPatient", position_mm, _FARTHEST_MM),
        ("PixelSpacing", spacing_mm, _WIDEST_PIXEL_MM),
    ):
        if (largest_mm := float(np.abs(values).max())) > limit_mm:
            raise SeriesRefused(
                f"{keyword} of instance {sop_instance_uid} holds {largest_mm:.4g} mm, which no "
                "scanner reaches; export the series again from its source."
            )
    return ImagePlane(
        sop_instance_uid,
        position_mm,
        along_row / lengths[0],
        along_column / lengths[1],
        spacing_mm,
    )


def places_on_normal(planes: Sequence[ImagePlane]) -> list[int]:
    """On which of evenly spaced planes each lies, given in order: 0, 1, 2 ... but for runs."""
    return places_of((positions_of(planes) @ planes[0].normal).tolist())


def positions_of(planes: Sequence[ImagePlane]) -> NDArray[np.float64]:
    """(plane, 3) the centre of each one's first pixel."""
    return np.array([plane.position_mm for plane in planes])


def stack_affine(planes: Sequence[ImagePlane], places: Sequence[int]) -> NDArray[np.float64]:
    """Return the affine of parallel planes, ordered along their normal; every plane lies on it.

    places: each one's index along the slice axis. That axis is the straight line fitted to all
    positions, so it may be sheared against the normal (gantry tilt). Raises SeriesRefused naming a
    missing slice or uneven spacing, or where it is sheared further.
    """
    positions, index = positions_of(planes), np.array(places, dtype=np.float64)
    centred = index - index.mean()
    slice_step = centred @ positions / (centred @ centred)
    first = positions.mean(axis=0) - index.mean() * slice_step
    off_mm = np.linalg.norm(positions - (first + index[:, None] * slice_step), axis=1)
    spacing_mm = float(planes[0].normal @ slice_step) * float(np.diff(index).min())
    allowed_mm = tolerance_mm(spacing_mm)
    if off_mm.max() > allowed_mm:
        raise SeriesRefused(_why_not_straight(planes, off_mm, allowed_mm))
    affine = np.eye(4)
    affine[:3, 0] = slice_step
    affine[:3, 1] = planes[0].along_column * planes[0].spacing_mm[0]
    affine[:3, 2] = planes[0].along_row * planes[0].spacing_mm[1]
    affine[:3, 3] = first
    if (lean := lean_deg(affine)) > LARGEST_LEAN_DEG:
        raise SeriesRefused(
            f"The slices' positions lean by {lean:.0f} degrees against the slices, more than any "
            "gantry tilts; export the series again from its source."
        )
    return affine


def _why_not_straight(
    planes: Sequence[ImagePlane], off_mm: NDArray[np.float64], allowed_mm: float
) -> str:
    along_mm = np.array([plane.position_mm @ planes[0].normal for plane in planes])
    gaps_mm, expected_mm = np.diff(along_mm), np.array(expected_gaps_mm(along_mm.tolist()))
    too_wide_mm = gaps_mm - expected_mm
    # Where a slice is missing, what is left of a run of slices may seem too narrow.
    is_wide = too_wide_mm.max() > allowed_mm
    widest = int(np.argmax(too_wide_mm if is_wide else np.abs(too_wide_mm)))
    gap_mm, spacing_mm = float(gaps_mm[widest]), float(expected_mm[widest])
    place = (
        f"between {along_mm[widest]:.2f} mm and {along_mm[widest + 1]:.2f} mm along the slice "
        f"normal (instances {planes[widest].sop_instance_uid} and "
        f"{planes[widest + 1].sop_instance_uid})"
    )
    steps = round(gap_mm / spacing_mm)
    if steps >= 2 and abs(gap_mm - steps * spacing_mm) <= 2 * POSITION_TOLERANCE_MM:
        missing = "A slice is missing" if steps == 2 else f"{steps - 1} slices are missing"
        return (
            f"{missing} {place}, where the slice spacing is {spacing_mm:.2f} mm; "
            "send the complete series again."
        )
    if abs(gap_mm - spacing_mm) > allowed_mm:
        return (
            f"The slice spacing is uneven: {gap_mm:.2f} mm {place} and {spacing_mm:.2f} mm "
            "elsewhere; reconstruct the series with one spacing."
        )
    worst = int(np.argmax(off_mm))
    return (
        f"Instance {planes[worst].sop_instance_uid} lies {off_mm[worst]:.2f} mm off the line "
        "through the other slices' positions; reconstruct the series as one straight stack."
    )
