"""The setting Filter: what a series must be, as conditions on its attributes joined by and / or.

{"SliceThickness": {"AtMost": 3}, "AnyOf": [{"ImageType": "ORIGINAL"}, {"Orientation": "axial"}]}
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orthanc_liver.host.filter_pattern import is_found, problem_of

# What we tell of a series ourselves.
ORIENTATION, SLICES = "Orientation", "Slices"

# What Orthanc indexes by default of a series and its study.
MAIN_TAGS = frozenset(
    [
        "AccessionNumber",
        "AcquisitionDeviceProcessingDescription",
        "BodyPartExamined",
        "CardiacNumberOfImages",
        "ContrastBolusAgent",
        "ImageOrientationPatient",
        "ImagesInAcquisition",
        "InstitutionName",
        "Manufacturer",
        "Modality",
        "NumberOfSlices",
        "NumberOfTemporalPositions",
        "NumberOfTimeSlices",
        "OperatorsName",
        "PerformedProcedureStepDescription",
        "ProtocolName",
        "ReferringPhysicianName",
        "RequestedProcedureDescription",
        "RequestingPhysician",
        "SequenceName",
        "SeriesDate",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SeriesTime",
        "SeriesType",
        "StationName",
        "StudyDate",
        "StudyDescription",
        "StudyID",
        "StudyInstanceUID",
        "StudyTime",
    ]
)
# Known by name in an image; any other goes by its number, so that a slip is seen here.
IMAGE_TAGS = frozenset(
    [
        "AcquisitionDate",
        "AcquisitionNumber",
        "AcquisitionTime",
        "Columns",
        "ContentDate",
        "ContentTime",
        "ContrastBolusIngredient",
        "ContrastBolusRoute",
        "ContrastBolusVolume",
        "ConvolutionKernel",
        "DataCollectionDiameter",
        "DerivationDescription",
        "DeviceSerialNumber",
        "ExposureTime",
        "FilterType",
        "FrameOfReferenceUID",
        "GantryDetectorTilt",
        "ImageComments",
        "ImageType",
        "InstanceCreationDate",
        "KVP",
        "Laterality",
        "ManufacturerModelName",
        "PatientAge",
        "PatientPosition",
        "PatientSex",
        "PatientSize",
        "PatientWeight",
        "PixelSpacing",
        "ReconstructionDiameter",
        "RequestedProcedureID",
        "RescaleType",
        "RotationDirection",
        "Rows",
        "ScanOptions",
        "SliceThickness",
        "SoftwareVersions",
        "SpacingBetweenSlices",
        "StudyComments",
        "TemporalPositionIdentifier",
        "XRayTubeCurrent",
    ]
)
_KNOWN = MAIN_TAGS | IMAGE_TAGS | {ORIENTATION, SLICES}
_NUMBER = "[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}"
_AND, _OR = "AllOf", "AnyOf"
_BOUNDS = {"AtLeast": "at least", "AtMost": "at most"}
_DEEPEST = 4
_MOST_CONDITIONS = 50


def problem_of_filter(value: Any) -> str | None:
    """Why this cannot be a filter, else None."""
    if problem := _problem_of_group(value, 0):
        return problem
    if _count(value) > _MOST_CONDITIONS:
        return f"holds more than {_MOST_CONDITIONS} conditions"
    return None


def why_not_met(wanted: Mapping[str, Any], value_of: Callable[[str], str]) -> str | None:
    """The first condition that a series does not meet, else None; never tells a value of it."""
    for name, condition in wanted.items():
        if problem := _why_not(name, condition, value_of):
            return problem
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What to add to the message about an unknown word."""
    lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.4)
    return f"; did you mean {lower[close[0]]}?" if close else ""


def _problem_of_group(value: Any, depth: int) -> str | None:
    if not isinstance(value, dict):
        return "must be an object with a condition for each attribute"
    if depth > _DEEPEST:
        return f"is nested more than {_DEEPEST} deep"
    problems = (_problem_of_condition(name, one, depth) for name, one in value.items())
    return next(filter(None, problems), None)


def _problem_of_condition(name: str, condition: Any, depth: int) -> str | None:
    if name in (_AND, _OR):
        if not isinstance(condition, list) or not condition:
            return f"{name} must be a list of filters, at least one"
        problems = (_problem_of_group(one, depth + 1) for one in condition)
        return next((f"{name}: {one}" for one in problems if one), None)
    if name not in _KNOWN and not re.fullmatch(_NUMBER, name):
        hint = did_you_mean(name, _KNOWN | {_AND, _OR}) or "; write it as its number, 0018,1210"
        return f"{name!r} is not a known attribute{hint}"
    if isinstance(condition, dict):
        return None if _are_bounds(condition) else f"{name}: must hold AtLeast or AtMost, numbers"
    if not isinstance(condition, str):
        return f"{name}: must be a regular expression, or an object with AtLeast or AtMost"
    problem = problem_of(condition)
    return f"{name}: {problem}" if problem else None


def _are_bounds(condition: Mapping[str, Any]) -> bool:
    numbers = all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
        for one in condition.values()
    )
    return bool(condition) and set(condition) <= set(_BOUNDS) and numbers


def _count(group: Mapping[str, Any]) -> int:
    return sum(sum(map(_count, one)) if isinstance(one, list) else 1 for one in group.values())


def _why_not(name: str, condition: Any, value_of: Callable[[str], str]) -> str | None:
    if name == _AND:
        return next(filter(None, (why_not_met(one, value_of) for one in condition)), None)
    if name == _OR:
        problems = [why_not_met(one, value_of) for one in condition]
        return None if None in problems else " and ".join(filter(None, problems))
    value = value_of(name)
    if isinstance(condition, str):
        found = is_found(condition, value)
        return None if found else f"{name} of the series does not match the filter {condition!r}"
    if _is_within(condition, value):
        return None
    bounds = " and ".join(f"{_BOUNDS[key]} {bound:g}" for key, bound in condition.items())
    return f"{name} of the series is not {bounds}"


def _is_within(bounds: Mapping[str, float], value: str) -> bool:
    try:
        number = float(value.split("\\", maxsplit=1)[0])
    except ValueError:  # missing, or text
        return False
    return bounds.get("AtLeast", -math.inf) <= number <= bounds.get("AtMost", math.inf)
