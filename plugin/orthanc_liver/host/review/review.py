"""What a person decided of one result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from orthanc_liver.host.server.times import text_of

NAME_CHARS, REASON_CHARS = 64, 500
NAME_WANTED = f"By must be a name on one line of at most {NAME_CHARS} characters"


class Verdict(StrEnum):
    """What may be decided."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Review:
    """rtstruct: Orthanc's id of the outline; by: whom Orthanc knows, or where is_typed the name
    that somebody typed; problem: what is wrong with name or reason, empty where nothing is."""

    series: str
    job: str
    rtstruct: str
    verdict: Verdict
    reason: str
    by: str
    is_typed: bool
    time: datetime

    @property
    def problem(self) -> str:
        if not is_line(self.by, NAME_CHARS):
            return NAME_WANTED
        if self.verdict is Verdict.REJECTED and not self.reason.strip():
            return "Reason must say why the outline is rejected"
        if self.reason and not is_line(self.reason, REASON_CHARS):
            return f"Reason must be on one line of at most {REASON_CHARS} characters"
        return ""

    def as_json(self) -> dict[str, Any]:
        """As it is shown, and as it is kept."""
        return {
            "Series": self.series,
            "Job": self.job,
            "Rtstruct": self.rtstruct,
            "Verdict": str(self.verdict),
            "Reason": self.reason,
            "By": self.by,
            "IsTyped": self.is_typed,
            "Time": text_of(self.time),
        }


def is_line(text: str, most: int) -> bool:
    """Whether it is one printable line with something on it, of at most so many characters."""
    return 1 <= len(text.strip()) <= len(text) <= most and text.isprintable()
