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


def why_not_hu(image_type: Sequence[str]) -> str | None:
    """Return what the image is instead, to be read after "Instance x is"; None for HU."""
    words = " ".join(re.sub(r"[^A-Z0-9]+", " ", value.upper()).strip() for value in image_type)
    if re.search(rf"\b({_PROJECTION})\b", words):
        return "a projection (ImageType), in which organs have other sizes"
    if re.search(rf"\b({_NOT_HU})\b", words):
        return "a subtraction or a map of one material (ImageType), not of HU"
    return None
