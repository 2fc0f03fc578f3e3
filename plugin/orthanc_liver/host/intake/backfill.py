"""Older studies, as many series at a time as are worked on and only while nothing newer waits.

What is left to do outlives a restart.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from orthanc_liver.host.errors import BackfillRefused, NoModelYet, NotAdmitted, NotAllowed
from orthanc_liver.host.intake.intake import Door, Intake, Settled
from orthanc_liver.host.intake.place import Place, Stage
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import keep_place, keep_studies, read_backfill
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.server.identifiers import RESOURCE
from orthanc_liver.host.server.times import text_of

MAX_STUDIES = 2000
_LOOK_S = 0.5
_IDLE_S = 60.0


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


class Backfill:
    """At most one at a time, in a thread of its own.

    at_once: of how many unfinished jobs its next one may be the last.
    """

    def __init__(
        self, orthanc: Orthanc, queue: JobQueue, intake: Intake, pause_s: float, at_once: int = 1
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._intake = intake
        self._pause_s = pause_s
        self._at_once = at_once
        self.thread = Background("backfill", orthanc, self._turn)
        self._lock = threading.Lock()
        self._studies: list[str] = []
        self._place: Place | None = None
        self._series_left: list[str] | None = None  # of the study at `done`; None: not looked yet
        self._job: str | None = None

    def restore(self) -> None:
        """Take up what was not done; StateUnreadable where what is kept is not ours."""
        kept = read_backfill(self._orthanc)
        if kept:
            self._place, self._studies = kept

    def ask(self, studies: list[str]) -> None:
        """Begin with these studies; NotAllowed while another backfill runs."""
        with self._lock:
            if self._place and self._place.stage is Stage.RUNNING:
                raise NotAllowed("a backfill runs already; cancel it first")
            keep_studies(self._orthanc, studies)
            self._studies, self._series_left = studies, None
            self._keep(Place(datetime.now(UTC)))
        self.thread.wake()

    def cancel(self) -> None:
        """Take up no more series; one that runs is finished. NotAllowed where none is running."""
        with self._lock:
            if self._place is None or self._place.stage is not Stage.RUNNING:
                raise NotAllowed("no backfill is running")
            self._place.stage = Stage.CANCELLED
            self._keep(self._place)

    def show(self) -> dict[str, Any] | None:
        """The last backfill, None where there never was one."""
        with self._lock:
            if self._place is None:
                return None
            return {
                "State": str(self._place.stage),
                "CreationTime": text_of(self._place.created),
                "Studies": len(self._studies),
                "Done": self._place.done,
                "Submitted": self._place.submitted,
                "Skipped": self._place.skipped,
            }

    def _turn(self) -> float:
        """Do a little and say how long to wait before the next step, in seconds."""
        with self._lock:
            if self._place is None or self._place.stage is not Stage.RUNNING:
                return _IDLE_S
            if self._queue.unfinished() >= self._at_once:
                return _LOOK_S
            if self._job:
                self._job = None
                return self._pause_s
            if self._series_left is None:
                return self._open_study(self._place)
            if not self._series_left:
                self._series_left = None
                self._place.done += 1
                self._keep(self._place)
                return 0.0
            return self._take_series(self._place, self._series_left)

    def _open_study(self, place: Place) -> float:
        if place.done >= len(self._studies):
            place.stage = Stage.DONE
            self._keep(place)
            return _IDLE_S
        try:
            study = self._orthanc.get(f"/studies/{self._studies[place.done]}")
        except Missing:
            study = {"Series": []}
        self._series_left = list(study["Series"])
        return 0.0

    def _take_series(self, place: Place, left: list[str]) -> float:
        # First, so that one whose consideration is at fault holds up no other for ever.
        series_id = left.pop(0)
        try:
            job = self._intake.offer(series_id, Door.BACKFILL)
        except (Missing, NotAdmitted):
            return 0.0
        except NoModelYet:
            left.insert(0, series_id)
            return _LOOK_S
        except OrthancError:
            left.insert(0, series_id)
            raise
        if isinstance(job, Settled):
            place.skipped += 1
            return 0.0
        self._job = job.id
        place.submitted += 1
        return _LOOK_S

    def _keep(self, place: Place) -> None:
        self._place = place
        keep_place(self._orthanc, place)
