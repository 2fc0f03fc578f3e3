"""Whether slice distance, tilt and pixel size are by a CT's headers what its images say.

Positions decide. They can be wrong as a whole: written anew by a program that took the slices for
1 mm, or even because every second slice is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liver_unet.volume import UPRIGHT_DEG, lean_deg
from orthanc_liver.dicom.ct_image import CtImage
from orthanc_liver.dicom.geometry import positions_of

# SpacingBetweenSlices may be rounded; SliceLocation is along the table, which a tilt of 30 degrees
# makes 15 % more.
_MOST_OFF = {"SpacingBetweenSlices": 0.1, "SliceLocation": 0.25}
# Images may be cut out of one of so many pixels, which the field's diameter is of.
_MATRICES, _MATRIX_OFF = (256, 512, 768, 1024), 0.05
# Slices as thick as this share of their distance have been seen to be called gapless.
_GAP = 1.5


def doubts_about_spacing(images: Sequence[CtImage], affine: NDArray[np.float64]) -> list[str]:
    """Return warnings; images: in their order, on slices of the affine."""
    along_mm = positions_of([one.plane for one in images]) @ images[0].plane.normal
    apart_mm = _middle(np.diff(along_mm))
    told_mm = {
        "SpacingBetweenSlices": _middle([_number(one, "SpacingBetweenSlices") for one in images]),
        "SliceLocation": _middle(np.diff([_number(one, "SliceLocation") for one in images])),
    }
    notes = [
        f"The slices' positions are {apart_mm:.4g} mm apart, by {keyword} it is {mm:.4g} mm: one "
        "of them is wrong, so the volume may be wrong too."
        for keyword, mm in told_mm.items()
        if mm > 0 and abs(mm - apart_mm) > _MOST_OFF[keyword] * apart_mm
    ]
    thick_mm = _middle([_number(one, "SliceThickness") for one in images])
    if 0 < thick_mm * _GAP < apart_mm:
        notes.append(
            f"The slices are {thick_mm:.4g} mm thick and {apart_mm:.4g} mm apart: what lies "
            "between was not measured, or slices are missing."
        )
    notes += _doubts_about_pixels(images)
    told_deg = _middle([_number(one, "GantryDetectorTilt") for one in images])
    if abs(told_deg - (lean := lean_deg(affine))) > UPRIGHT_DEG:
        says = f"{told_deg:.0f}" if told_deg else "nothing"
        notes.append(
            f"The slices' positions lean by {lean:.0f} degrees, and GantryDetectorTilt says "
            f"{says}: if the positions are wrong, so may be the volume and the outline's shape."
        )
    return notes


def _doubts_about_pixels(images: Sequence[CtImage]) -> list[str]:
    field_mm = _middle([_number(one, "ReconstructionDiameter") for one in images])
    pixel_mm = float(images[0].plane.spacing_mm.max())
    wide = np.array([max(images[0].hu.shape), *_MATRICES]) * pixel_mm
    if not field_mm or (np.abs(wide - field_mm) < _MATRIX_OFF * wide).any():
        return []
    return [
        f"The pixels measure {pixel_mm:.4g} mm, by ReconstructionDiameter the images are "
        f"{field_mm:.4g} mm wide: one of them is wrong, so the volume may be wrong too."
    ]


def _middle(numbers: Sequence[float] | NDArray[np.float64]) -> float:
    """The median's size; 0 where any is missing."""
    return abs(float(np.median(numbers))) if np.isfinite(numbers).all() else 0.0


def _number(image: CtImage, keyword: str) -> float:
    try:
        return float(image.header[keyword].value)
    except Exception:  # noqa: BLE001 a damaged value may raise anything, and tells no distance
        return float("nan")
