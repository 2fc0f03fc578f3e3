"""One outline that came back, how ours agrees with it, and what that is measured by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orthanc_liver.engine.protocol import Agreement
from orthanc_liver.host.quality.chart import Limits
from orthanc_liver.host.server.times import text_of

APPROVED = "APPROVED"


@dataclass(frozen=True)
class Returned:
    """instance: Orthanc's id of somebody's RTSTRUCT or SEG; roi: what the liver is called in it;
    md5: of its file; drawn_at: as DICOM writes date and time; stored_by: the user or the sending AE
    title, as far as Orthanc knows; origin: the way on which it came, in Orthanc's word."""

    instance: str
    sop_instance_uid: str
    md5: str
    kind: str
    roi: str
    approval: str = ""
    drawn_at: str = ""
    stored_by: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Comparison:
    """model: what made ours. agreement: None where they could not be compared, and reason says why.
    time: when they were, UTC. is_shadow: ours was made by the second model, to be compared only, in
    the place of the outline `ours` of the first, or with that."""

    series: str
    study: str
    job: str
    ours: str
    model_name: str
    model_sha256: str
    grade: str
    returned: Returned
    time: datetime
    agreement: Agreement | None = None
    reason: str = ""
    is_shadow: bool = False

    @property
    def is_of_two_models(self) -> bool:
        """No physician drew the other one."""
        return self.is_shadow and self.returned.instance == self.ours

    @property
    def key(self) -> tuple[str, str]:
        """What it takes the place of: the same outline compared with the same model's, where that
        is a second one."""
        return self.returned.sop_instance_uid, self.model_sha256 if self.is_shadow else ""

    def as_json(self) -> dict[str, Any]:
        """What the routes tell of it."""
        returned, found = self.returned, self.agreement
        return {
            "Time": text_of(self.time),
            "Series": self.series,
            "Study": self.study,
            "Instance": returned.instance,
            "SopInstanceUid": returned.sop_instance_uid,
            "Md5": returned.md5,
            "Kind": returned.kind,
            "Roi": returned.roi,
            "Approval": returned.approval,
            "DrawnAt": returned.drawn_at,
            "StoredBy": returned.stored_by,
            "Origin": returned.origin,
            "Job": self.job,
            "Ours": self.ours,
            "Model": self.model_name,
            "Sha256": self.model_sha256,
            "Grade": self.grade,
            "Dsc": found and round(found.dsc, 4),
            "MdaMm": None if not found or found.mda_mm is None else round(found.mda_mm, 3),
            "Rv": found and round(found.rv, 4),
            "Ra": found and round(found.ra, 4),
            "OursMl": found and round(found.ours_ml, 1),
            "TheirsMl": found and round(found.theirs_ml, 1),
            "WorstSlice": found and found.worst_slice,
            "WorstMl": found and round(found.worst_ml, 2),
            "Warnings": list(found.warnings) if found else [],
            "Reason": self.reason,
            "IsShadow": self.is_shadow,
            "Against": "first model" if self.is_of_two_models else "returned outline",
        }


@dataclass(frozen=True)
class ModelLimits:
    """The limits of a model's chart: of its first cases, the last of which was compared then. They
    stay when those cases are deleted, and name none of them."""

    model_sha256: str
    limits: Limits
    until: datetime


def cases_of(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """One for each CT and model, in the order in which they were made: the newest that is approved,
    else the newest. What could not be compared is none, nor what no physician drew."""
    best: dict[tuple[str, str], Comparison] = {}
    for one in sorted(comparisons, key=_rank):
        if one.agreement and not one.is_of_two_models:
            best[one.series, one.model_sha256] = one
    return sorted(best.values(), key=lambda one: (one.time, one.series))


def _rank(one: Comparison) -> tuple[bool, str, datetime]:
    return one.returned.approval == APPROVED, one.returned.drawn_at, one.time
