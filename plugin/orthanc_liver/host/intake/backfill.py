"""Older studies, one series at a time and only while nothing newer waits.

What is left to do outlives a restart.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from orthanc_liver.host.errors import BackfillRefused, NotAllowed
from orthanc_liver.host.intake.place import Place, Stage
from orthanc_liver.host.intake.series_filter import why_not
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import keep_place, keep_studies, read_backfill
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError, Series, ServerStopping
from orthanc_liver.host.server.identifiers import RESOURCE
from orthanc_liver.host.server.times import text_of
from orthanc_liver.host.settings import Settings

MAX_STUDIES = 2000
PRIORITY = -100
_LOOK_S = 0.5
_IDLE_S = 60.0

# Whether running a series again could bring anything new; None while no model is loaded.
BringsNothing = Callable[[Series], bool | None]


def studies_wanted(orthanc: Orthanc, asked: Mapping[str, Any]) -> list[str]:
    """Orthanc's ids of {"Studies": [...]} or of the studies of {"From": ..., "To": ...}.

    Raises BackfillRefused for any other body, and for more than MAX_STUDIES studies.
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
        query = {"StudyDate": f"{first}-{last}"}
        body = {"Level": "Study", "Query": query, "Limit": MAX_STUDIES + 1}
        studies = orthanc.post("/tools/find", json.dumps(body).encode())
    else:
        raise BackfillRefused(
            'the body must be {"Studies": [...]} or {"From": "YYYYMMDD", "To": "YYYYMMDD"}'
        )
    if len(studies) > MAX_STUDIES:
        raise BackfillRefused(f"these are more than {MAX_STUDIES} studies: ask for fewer at a time")
    return list(dict.fromkeys(studies))


def _date(asked: Mapping[str, Any], key: str) -> str:
    try:
        return datetime.fromisoformat(asked[key]).strftime("%Y%m%d")
    except (ValueError, TypeError):
        raise BackfillRefused(f"{key} must be a date, YYYYMMDD") from None


class Backfill:
    """At most one at a time, in a thread of its own."""

    def __init__(
        self, orthanc: Orthanc, queue: JobQueue, settings: Settings, brings_nothing: BringsNothing
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._settings = settings
        self._brings_nothing = brings_nothing
        self._thread = threading.Thread(target=self._run, name="liver-backfill", daemon=True)
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._stopping = False
        self._studies: list[str] = []
        self._place: Place | None = None
        self._series_left: list[str] | None = None  # of the study at `done`; None: not looked yet
        self._job: str | None = None

    def restore(self) -> None:
        """Take up what was not done; StateUnreadable where what is kept is not ours."""
        kept = read_backfill(self._orthanc)
        if kept:
            self._place, self._studies = kept

    def start(self) -> None:
        """Begin, or go on where it was."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def ask(self, studies: list[str]) -> None:
        """Begin with these studies; NotAllowed while another backfill runs."""
        with self._lock:
            if self._place and self._place.stage is Stage.RUNNING:
                raise NotAllowed("a backfill runs already; cancel it first")
            keep_studies(self._orthanc, studies)
            self._studies, self._series_left = studies, None
            self._keep(Place(datetime.now(UTC)))
        self._woken.set()

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

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping:
            self._woken.wait(wait_s)
            self._woken.clear()
            try:
                wait_s = self._step()
            except ServerStopping:
                return
            except OrthancError as error:
                self._orthanc.log_error(f"the backfill goes on shortly: {error}")
                wait_s = 10.0

    def _step(self) -> float:
        """Do a little and say how long to wait before the next step, in seconds."""
        with self._lock:
            if self._place is None or self._place.stage is not Stage.RUNNING:
                return _IDLE_S
            if self._queue.is_busy():
                return _LOOK_S
            if self._job:
                self._job = None
                return float(self._settings.backfill_pause_seconds)
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
        try:
            series = self._orthanc.series(left[0])
        except Missing:
            left.pop(0)
            return 0.0
        if why_not(series, self._settings):
            left.pop(0)
            return 0.0
        nothing_new = self._brings_nothing(series)
        if nothing_new is None:
            return _LOOK_S
        left.pop(0)
        if nothing_new:
            place.skipped += 1
            return 0.0
        self._job = self._queue.submit(series, force=False, priority=PRIORITY).id
        place.submitted += 1
        return _LOOK_S

    def _keep(self, place: Place) -> None:
        self._place = place
        keep_place(self._orthanc, place)
