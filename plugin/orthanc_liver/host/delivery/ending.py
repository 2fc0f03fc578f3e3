"""What the end of one of Orthanc's sending jobs means for what it sent."""

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
    """NEVER: the destination takes no such object, however often it is sent.
    NO_PROOF: it offers no storage commitment, or takes no such object, which is seen without.
    DUPLICATE: it has one of several already, and nobody can tell which."""

    ARRIVED = 1
    FAILED = 2
    NEVER = 3
    NO_PROOF = 4
    DUPLICATE = 5


@dataclass(frozen=True)
class Ending:
    """reason: empty where it arrived; transaction: of the storage commitment that was asked for."""

    fate: Fate
    reason: str = ""
    transaction: str = ""


def ending_of(job: Mapping[str, Any], *, is_of_one_kind: bool = False) -> Ending | None:
    """What a job of Orthanc's tells, as GET /jobs/{id} shows it; None while it is not over.

    is_of_one_kind: it sends several objects, of which the destination takes all or none.
    """
    transaction = str(job.get("Content", {}).get("StorageCommitmentTransactionUID", ""))
    if job["State"] == "Success":
        return Ending(Fate.ARRIVED, transaction=transaction)
    if job["State"] != "Failure":
        return None
    return _of_failure(job, transaction, is_of_one_kind=is_of_one_kind)


def _of_failure(job: Mapping[str, Any], transaction: str, *, is_of_one_kind: bool) -> Ending:
    said = [job.get("ErrorDescription", ""), job.get("ErrorDetails", "")]
    reason = ": ".join(one for one in said if one) or "Orthanc's sending job failed"
    is_one = job.get("Content", {}).get("InstancesCount", 1) == 1
    if not is_one and not is_of_one_kind:
        return Ending(Fate.FAILED, reason)  # nobody can tell which of them is meant
    status = _dimse_status(job)
    if status == _DUPLICATE:
        return Ending(Fate.ARRIVED if is_one else Fate.DUPLICATE)
    if status == _NOT_SUPPORTED or _NO_SYNTAX.search(reason):
        return Ending(Fate.NEVER, reason)
    if job.get("ErrorCode") == _NO_PRESENTATION_CONTEXT:
        return Ending(Fate.NO_PROOF if transaction else Fate.NEVER, reason)
    return Ending(Fate.FAILED, reason)


def commitment_of(report: Mapping[str, Any]) -> Ending | None:
    """What GET /storage-commitment/{id} tells of one object; None while nothing was answered."""
    if report["Status"] == "Pending":
        return None
    if report["Status"] == "Success":
        return Ending(Fate.ARRIVED)
    first: Mapping[str, Any] = next(iter(report.get("Failures", [])), {})
    fate = Fate.NEVER if first.get("FailureReason") == _NOT_SUPPORTED else Fate.FAILED
    return Ending(fate, f"storage not committed: {first.get('Description', 'no reason is given')}")


def _dimse_status(job: Mapping[str, Any]) -> int | None:
    told = job.get("DimseErrorStatus")  # from 1.12.10 on
    if isinstance(told, int):
        return told
    found = _DIMSE_STATUS.search(job.get("ErrorDetails", ""))
    return int(found[1], 16) if found else None
