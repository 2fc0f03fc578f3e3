"""What the end of one of Orthanc's sending jobs means for the object that it sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

_DUPLICATE, _NOT_SUPPORTED = 0x0111, 0x0122
_NO_PRESENTATION_CONTEXT = 2015  # Orthanc's number of that error
# What Orthanc up to 1.12 says instead, where the peer took no transfer syntax for the class.
_NO_SYNTAX = re.compile(r"Cannot transcode from \S+ to one of \[ *\]")
_DIMSE_STATUS = re.compile(r"DIMSE status 0x([0-9A-Fa-f]{4})")


class Fate(Enum):
    """NEVER: the destination takes no such object, however often it is sent."""

    ARRIVED = 1
    FAILED = 2
    NEVER = 3


@dataclass(frozen=True)
class Ending:
    """reason: empty where it arrived."""

    fate: Fate
    reason: str = ""


def ending_of(job: Mapping[str, Any]) -> Ending | None:
    """What a job of Orthanc's tells, as GET /jobs/{id} shows it; None while it is not over."""
    if job["State"] == "Success":
        return Ending(Fate.ARRIVED)
    if job["State"] != "Failure":
        return None
    said = [job.get("ErrorDescription", ""), job.get("ErrorDetails", "")]
    reason = ": ".join(one for one in said if one) or "Orthanc's sending job failed"
    if job.get("Content", {}).get("InstancesCount", 1) != 1:
        return Ending(Fate.FAILED, reason)  # nobody can tell which of them is meant
    status = _dimse_status(job)
    if status == _DUPLICATE:
        return Ending(Fate.ARRIVED)
    is_never = (
        status == _NOT_SUPPORTED
        or job.get("ErrorCode") == _NO_PRESENTATION_CONTEXT
        or _NO_SYNTAX.search(reason)
    )
    return Ending(Fate.NEVER if is_never else Fate.FAILED, reason)


def _dimse_status(job: Mapping[str, Any]) -> int | None:
    told = job.get("DimseErrorStatus")  # from 1.12.10 on
    if isinstance(told, int):
        return told
    found = _DIMSE_STATUS.search(job.get("ErrorDetails", ""))
    return int(found[1], 16) if found else None
