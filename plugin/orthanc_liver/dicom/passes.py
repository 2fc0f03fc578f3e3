"""Whether one pass of the scanner made all slices of a series, as far as their headers tell.

Two passes whose slices interleave lie on one straight line with one spacing, and read as one
volume of a patient who never was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orthanc_liver.dicom.ct_image import CtImage
from orthanc_liver.liver_errors import SeriesRefused

# A pass has one of each of the first. Step-and-shoot counts its steps and its time on: there only
# a step larger than all others together may be another pass.
_ONE_OF_EACH = (
    "ConvolutionKernel",
    "KVP",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
)
_NUMBER, _TIMES = "AcquisitionNumber", ("AcquisitionTime", "AcquisitionDateTime")
# How far a value goes along the stack in all, as a multiple of its range: 1 where it only rises or
# only falls, 2 where a slab in the middle was scanned again, n - 1 where n slices of two passes
# alternate, 2n / 3 of three.
_MOST_TO_AND_FRO = 3.0
# No scanner is back at the same place sooner; by less it may date the slices of one pass.
_PASSES_APART_S = 2.0


def check_one_pass(images: Sequence[CtImage]) -> list[str]:
    """Refuse slices, given in their order, whose passes alternate; return a warning per change.

    The values themselves are never repeated: a damaged file may hold anything.
    """
    notes = []
    for keyword in (_NUMBER, *_TIMES, *_ONE_OF_EACH):
        values = _along_the_stack(images, keyword)
        steps = np.abs(np.diff(values))
        if keyword in _TIMES:
            steps[steps < _PASSES_APART_S] = 0
        if not steps.any():
            continue
        largest, reach = int(np.argmax(steps)), float(np.ptp(values))
        lower, upper = (images[i].plane.sop_instance_uid for i in (largest, largest + 1))
        if steps.sum() > _MOST_TO_AND_FRO * reach:
            raise SeriesRefused(
                f"{keyword} alternates from slice to slice (such as instances {lower} and "
                f"{upper}): the series holds the slices of two passes or more, interleaved; "
                "send each pass as its own series."
            )
        if keyword in _ONE_OF_EACH or steps[largest] > reach / 2:
            notes.append(
                f"{keyword} changes within the series (between instances {lower} and {upper}): "
                "two passes may be joined there; check the outline at that place."
            )
    return notes


def _along_the_stack(images: Sequence[CtImage], keyword: str) -> NDArray[np.float64]:
    """Return a number per slice: of equal values the same; all 0 where nothing can be compared."""
    texts = [_text(image, keyword) for image in images]
    if keyword in _ONE_OF_EACH:
        kinds = sorted(set(texts))
        return np.array([kinds.index(text) for text in texts], dtype=np.float64)
    numbers = [_seconds(text) if keyword in _TIMES else _number(text) for text in texts]
    if any(number is None for number in numbers):
        return np.zeros(len(images))
    return np.array(numbers, dtype=np.float64)


def _text(image: CtImage, keyword: str) -> str:
    try:
        return str(image.header.get(keyword) or "").strip()
    except Exception:  # noqa: BLE001 a damaged value may raise anything, and tells no pass
        return ""


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,12}", text) else None


def _seconds(text: str) -> float | None:
    """Of a DICOM time, or of that in a date and time; midnight is one step like any other."""
    match = re.fullmatch(r"(?:\d{8})?(\d\d)(\d\d)(\d\d(?:\.\d+)?)(?:[+-]\d{4})?", text)
    return (
        None if match is None else float(match[1]) * 3600 + float(match[2]) * 60 + float(match[3])
    )
