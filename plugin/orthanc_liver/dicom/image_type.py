"""What ImageType tells of the pixels: an image of HU, or something that only looks like one.

Writers use words of their own beside DICOM's, so words are looked for, not values. Reformats
(thick averages too), monoenergetic and virtual non-contrast images are HU and pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PROJECTION = r"MIP|(MAX|MIN) ?IP|MAXIMUM|MINIMUM|PROJECTION|SSD|VRT"
# DICOM's own for multi-energy CT (C.8.15.2.1.1.5) and for arithmetic on pixels, then the makers'.
_NOT_HU = (
    r"MAT (SPECIFIC|FRACTIONAL|VALUE BASED)|EFF ATOMIC NUM|ELECTRON DENSITY|"
    r"SUBTRACTION|DIVISION|MULTIPLICATION|STD DEVIATION|"
    r"SUBTRACTED|(DE ?)?IODINE|Z ?EFF(ECTIVE)?|EFFECTIVE Z|RHO( ?Z)?"
)


def is_projection(image_type: Sequence[str]) -> bool:
    """Whether it shows the brightest or darkest of a slab, in which organs have other sizes."""
    return _holds(_PROJECTION, image_type)


def is_not_hu(image_type: Sequence[str]) -> bool:
    """Whether it is a subtraction or a map of one material."""
    return _holds(_NOT_HU, image_type)


def _holds(pattern: str, image_type: Sequence[str]) -> bool:
    words = " ".join(re.sub(r"[^A-Z0-9]+", " ", value.upper()).strip() for value in image_type)
    return re.search(rf"\b({pattern})\b", words) is not None
