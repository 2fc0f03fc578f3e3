"""Whether one pass of the scanner made all slices of a series, as far as their headers tell.

Two passes whose slices interleave lie on one straight line with one spacing, and read as one
volume of a patient who never was. What their pixels tell: liver_unet/neighbours.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from liver_unet.neighbours import MAY_BE_INTERLEAVED, PASSES_IN_TURN
from orthanc_liver.dicom.ct_image import CtImage
from orthanc_liver.liver_errors import SeriesRefused

# A pass has one of each of the first. Step-and-shoot counts its steps and its time on: there only
# a step larger than all others together may be another pass.
_ONE_OF_EACH = (
    "ConvolutionKernel",
    "KVP",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "AcquisitionDate",
    "ImageType",
    "SliceThickness",
    "ReconstructionDiameter",
    "FilterType",
    "ContrastBolusAgent",
    "ProtocolName",
    "SeriesDescription",
)
_NUMBER, _TIMES = "AcquisitionNumber", ("AcquisitionTime", "AcquisitionDateTime")
# How far a value goes along the stack in all, as a multiple of its range: 1 where it only rises or
# only falls, 2 where a slab in the middle was scanned again, n - 1 where n slices of two passes
# alternate, 2n / 3 of three.
_MOST_TO_AND_FRO = 3.0
# No scanner is back at the same place sooner; by less it may date the slices of one pass.
_PASSES_APART_S = 2.0
_DATE, _TIME = r"(\d{4})(\d\d)(\d\d)", r"(\d\d)(?::?(\d\d)(?::?(\d\d(?:\.\d+)?))?)?"
_ZONE = r"(?:[+-]\d{4})?"


def check_one_pass(images: Sequence[CtImage]) -> list[str]:
    """Refuse slices, given in their order, whose passes alternate; return a warning per change.

    The values themselves are never repeated: a damaged file may hold anything.
    """
    notes = []
    for keyword in (_NUMBER, *_TIMES, *_ONE_OF_EACH):
        for told, values in _along_the_stack(images, keyword):
            steps = np.abs(np.diff(values))
            if keyword in _TIMES:
                steps[steps < _PASSES_APART_S] = 0
            if not steps.any():
                continue
            largest, reach = int(np.argmax(steps)), float(np.ptp(values))
            lower, upper = (told[i].plane.sop_instance_uid for i in (largest, largest + 1))
            if steps.sum() > _MOST_TO_AND_FRO * reach:
                raise SeriesRefused(
                    f"{keyword} alternates from slice to slice (such as instances {lower} and "
                    f"{upper}): the series holds the slices of two passes or more, interleaved; "
                    "send each pass as its own series."
                )
            if keyword in _ONE_OF_EACH or steps[largest] > reach / 2:
                notes.append(
                    f"{keyword} changes within the series (between instances {lower} and "
                    f"{upper}): two passes may be joined there; check the outline at that place."
                )
    return [*dict.fromkeys(notes), *_note_on_counting(images)]


def _along_the_stack(
    images: Sequence[CtImage], keyword: str
) -> Iterator[tuple[Sequence[CtImage], NDArray[np.float64]]]:
    """Yield images with a number each: of equal values the same; nothing where none has a value.

    Of numbers and times, which images have one, and then the values of those.
    """
    texts = [_text(image, keyword) for image in images]
    if keyword in _ONE_OF_EACH:
        kinds = [_same_digits(text) for text in texts]
        order = sorted(set(kinds))
        yield images, np.array([order.index(kind) for kind in kinds], dtype=np.float64)
        return
    numbers = [_seconds(text) if keyword in _TIMES else _number(text) for text in texts]
    there = [n for n, number in enumerate(numbers) if number is not None]
    if there:
        # As far apart as passes are.
        yield images, np.array([_PASSES_APART_S * (one is not None) for one in numbers])
        yield [images[n] for n in there], np.array([numbers[n] for n in there], dtype=np.float64)


def _note_on_counting(images: Sequence[CtImage]) -> list[str]:
    """A warning where slices are numbered as those of two passes or three in turn."""
    numbers = [_number(_text(image, "InstanceNumber")) for image in images]
    if any(number is None for number in numbers):
        return []
    counted = np.array(numbers, dtype=np.float64)
    for passes, which in PASSES_IN_TURN.items():
        steps = np.abs(counted[passes:] - counted[:-passes])
        if len(steps) > passes and (steps == 1).all():
            return [f"InstanceNumber counts every {which} slice: {MAY_BE_INTERLEAVED}"]
    return []


def _text(image: CtImage, keyword: str) -> str:
    try:
        return str(image.header.get(keyword) or "").strip()
    except Exception:  # noqa: BLE001 a damaged value may raise anything, and tells no pass
        return ""


def _same_digits(text: str) -> str:
    return f"{float(text):g}" if re.fullmatch(r"\d{1,6}\.\d{1,9}", text) else text


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,12}", text) else None


def _seconds(text: str) -> float | None:
    """Of a DICOM time, with colons or not, or of a date and time."""
    dated = re.fullmatch(_DATE + f"(?:{_TIME})?" + _ZONE, text)
    if dated is None:
        match = re.fullmatch(_TIME, text)
        return None if match is None else _of_day_s(*match.groups())
    try:
        day = date(int(dated[1]), int(dated[2]), int(dated[3])).toordinal()
    except ValueError:
        return None
    return 86400.0 * day + _of_day_s(*dated.groups()[3:])


def _of_day_s(*parts: str | None) -> float:
    hours, minutes, seconds = (float(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds
