"""Older studies, as many series at a time as are worked on and only while nothing newer waits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from orthanc_liver.host.errors import BackfillRefused, NotAllowed
from orthanc_liver.host.intake.intake import Door, Intake
from orthanc_liver.host.intake.paced import MAX_STUDIES, Pace, Paced
from orthanc_liver.host.intake.place import Place
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import keep_place, keep_studies, read_backfill
from orthanc_liver.host.server.api import Missing, Orthanc
from orthanc_liver.identifiers import RESOURCE


def studies_wanted(orthanc: Orthanc, asked: Mapping[str, Any], find_limit: int) -> list[str]:
    """Orthanc's ids of {"Studies": [...]} or of the studies of {"From": ..., "To": ...}.

    find_limit: Orthanc's LimitFindResults. Raises BackfillRefused for any other body, and for more
    than MAX_STUDIES studies.
    """
    if set(asked) == {"Studies"}:
        studies = asked["Studies"]
        if not isinstance(studies, list) or not all(
            isinstance(one, str) and re.fullmatch(RESOURCE, one) for one in studies
        ):
            raise BackfillRefused("Studies must be a list of Orthanc's identifiers of studies")
    elif set(asked) == {"From", "To"}:
        first, last = _date(asked, "From"), _date(asked, "To")
        if first > last:
            raise BackfillRefused("From must not be after To")
        studies = _studies_of(orthanc, first, last, find_limit)
    else:
        raise BackfillRefused(
            'the body must be {"Studies": [...]} or {"From": "YYYYMMDD", "To": "YYYYMMDD"}'
        )
    if len(studies) > MAX_STUDIES:
        raise BackfillRefused(f"these are more than {MAX_STUDIES} studies: ask for fewer at a time")
    return list(dict.fromkeys(studies))


def _studies_of(orthanc: Orthanc, first: date, last: date, find_limit: int) -> list[str]:
    """The studies of these dates, at least the first of them where they are too many."""
    query = {"StudyDate": f"{_dicom(first)}-{_dicom(last)}"}
    found: list[str] = []
    while len(found) <= MAX_STUDIES:
        body = {"Level": "Study", "Query": query, "Since": len(found), "Limit": MAX_STUDIES + 1}
        page = orthanc.post("/tools/find", json.dumps(body).encode())
        if 0 < find_limit < len(page):
            # So does 1.10, which finds nothing more wherever the next page begins.
            return _studies_by_halves(orthanc, first, last, find_limit)
        found += page
        if not page or not find_limit:
            break
    return found


def _studies_by_halves(orthanc: Orthanc, first: date, last: date, find_limit: int) -> list[str]:
    if first == last:
        raise BackfillRefused(
            f"Orthanc finds no more than LimitFindResults, {find_limit}, at a time, and has more "
            f"studies of {_dicom(first)}: raise it, or name the Studies"
        )
    middle = first + (last - first) // 2
    found = _studies_of(orthanc, first, middle, find_limit)
    if len(found) <= MAX_STUDIES:
        found += _studies_of(orthanc, middle + timedelta(days=1), last, find_limit)
    return found


def _dicom(day: date) -> str:
    return day.isoformat().replace("-", "")  # %Y has no zeros before a year below 1000


def _date(asked: Mapping[str, Any], key: str) -> date:
    try:
        return datetime.fromisoformat(asked[key]).date()
    except (ValueError, TypeError):
        raise BackfillRefused(f"{key} must be a date, YYYYMMDD") from None


class Backfill(Paced):
    """At most one at a time."""

    def __init__(self, orthanc: Orthanc, queue: JobQueue, intake: Intake, pace: Pace) -> None:
        super().__init__("backfill", orthanc, queue, intake, Door.BACKFILL, pace)
        self._studies: list[str] = []

    def restore(self) -> None:
        """Take up what was not done; StateUnreadable where what is kept is not ours."""
        kept = read_backfill(self._orthanc)
        if kept:
            self._place, self._studies = kept

    def ask(self, studies: list[str]) -> None:
        """Begin with these studies; NotAllowed while another backfill runs."""
        with self._lock:
            if self._is_running:
                raise NotAllowed("a backfill runs already; cancel it first")
            keep_studies(self._orthanc, studies)
            self._studies = studies
            self._begin()
        self.thread.wake()

    def show(self) -> dict[str, Any] | None:
        """The last backfill, None where there never was one."""
        with self._lock:
            place = self._place
            if place is None:
                return None
            counts = {"Submitted": place.submitted, "Skipped": place.skipped}
            return self._shown(place) | counts

    def _count(self) -> int:
        return len(self._studies)

    def _open(self, place: Place) -> list[str] | float:
        try:
            return list(self._orthanc.get(f"/studies/{self._studies[place.done]}")["Series"])
        except Missing:
            return []

    def _keep(self, place: Place) -> None:
        keep_place(self._orthanc, place)
