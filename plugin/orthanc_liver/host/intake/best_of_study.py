"""Which of a study's series is the one to outline the liver on, where only one is to be.

In this order: axial; original, not derived; of a soft kernel; portal venous by its description; of
the thinnest slices up to 3 mm, and behind these, thicker ones; then of the most slices.
"""

from __future__ import annotations

import re

from orthanc_liver.host.intake.series_tags import SeriesTags

_THICKEST_MM = 3.0
_PORTAL_VENOUS = re.compile(r"portal|(?<!arterio)ven(?:ous|ös|oes)|\bpvp?\b", re.IGNORECASE)
# By the names that scanners have for them: Siemens (B30f, Br40, I31s), GE, Philips, Canon (FC08).
_SOFT = re.compile(r"(?i)^(?:[BIQ][a-z]?[1-4]\d|STANDARD|SOFT|[AB]$|i?FC[01]\d|Body)")
_SHARP = re.compile(
    r"(?i)^(?:[BIQ][a-z]?[5-9]\d|LUNG|BONE|DETAIL|EDGE|CHST|ULTRA|[C-E]$|L$|Y|i?FC[3-8]\d)"
)


def rank(tags: SeriesTags) -> tuple[object, ...]:
    """The smallest is the best; the same for the same series, whenever it is asked for."""
    thickness_mm = _number(tags.value("SliceThickness"))
    return (
        tags.value("Orientation") != "axial",
        "DERIVED" in tags.value("ImageType").upper().split("\\"),
        sharpness(tags.value("ConvolutionKernel")),
        not _PORTAL_VENOUS.search(tags.value("SeriesDescription")),
        not 0 < thickness_mm <= _THICKEST_MM,
        thickness_mm or 1000.0,
        -len(tags.series.instances),
        tags.series.id,
    )


def sharpness(kernel: str) -> int:
    """0: soft tissue, 1: unknown, 2: lung or bone."""
    name = kernel.split("\\", maxsplit=1)[0].strip()
    return 0 if _SOFT.search(name) else 2 if _SHARP.search(name) else 1


def _number(text: str) -> float:
    try:
        return float(text.split("\\", maxsplit=1)[0])
    except ValueError:
        return 0.0
