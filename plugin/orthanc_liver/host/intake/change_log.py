"""What arrives in Orthanc becomes jobs: reads the server's own change log, so nothing is missed.

Orthanc says StableSeries when nothing arrived for StableAge, but never for what arrived shortly
before it stopped. So the place in the log that is kept over a restart stays behind by a little
more than StableAge, and after a start everything from there on is considered, stable or not.
Considering a series twice does no harm.

What was deleted is not in that log, only in Orthanc's callback.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from orthanc_liver.host.errors import NotAdmitted
from orthanc_liver.host.intake.copies import mark_left_behind
from orthanc_liver.host.intake.intake import Door, Intake
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.settings import Settings

_CHANGES_AT_ONCE = 200
# Orthanc looks for stable series once a second, and later when it is busy.
_MARGIN_S = 30.0
_LONGEST_SLEEP_S = 10.0


class ChangeLog:
    """Reads the change log in a thread of its own whenever it is woken.

    arrived_while_away: how many series the log told of before this start that want a job and had
    none. on_arrived: told of each series that is complete, segmented or not; on_gone: of each that
    was deleted.
    """

    def __init__(
        self, orthanc: Orthanc, queue: JobQueue, intake: Intake, settings: Settings, lag_s: float
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._intake = intake
        self._automatic = settings.automatic
        self._lag_s = lag_s
        self.thread = Background("change log", orthanc, self._turn)
        self._settled = "StableStudy" if settings.one_per_study else "StableSeries"
        self._interesting = {"NewSeries", "NewInstance", self._settled}  # until read once
        self._read_to = 0
        self._not_done_with: deque[tuple[int, float]] = deque()  # (seq, when read)
        self._to_consider: dict[str, None] = {}  # a set in the order of arrival
        self._gone: deque[str] = deque()  # series that were deleted
        self._end_at_start = 0
        self._known: set[str] = set()  # series that have a job at the start
        self._while_away: set[str] = set()
        self.arrived_while_away = 0
        self.on_arrived: Callable[[str], None] = lambda series_id: None
        self.on_gone: Callable[[str], None] = lambda series_id: None

    def start(self, seq: int, end: int) -> None:
        """Begin with what arrived since that place in the log, which ends at end now."""
        self._read_to, self._end_at_start = seq, end
        self._known = {self._queue.job(job_id).series for job_id in self._queue.ids()}
        self.thread.start()

    def series_is_gone(self, series_id: str) -> None:
        """Orthanc has deleted it, or moved its slices to another study."""
        self._gone.append(series_id)
        self.thread.wake()

    def _turn(self) -> float:
        self._look_at_what_is_left()
        self._read_log()
        self._consider_all()
        self._end_of_absence()
        self._queue.write_again()
        return _LONGEST_SLEEP_S

    def _look_at_what_is_left(self) -> None:
        while self._gone:
            for job in self._queue.jobs_of(self._gone[0]):
                mark_left_behind(self._orthanc, job)
            self.on_gone(self._gone[0])
            self._gone.popleft()

    def _read_log(self) -> None:
        """Read on to the end of the log."""
        done = False
        while not done:
            path = f"/changes?since={self._read_to}&limit={_CHANGES_AT_ONCE}"
            answer = self._orthanc.get(path)
            for change in answer["Changes"]:
                if change["ChangeType"] in self._interesting:
                    self._note(change)
            done = answer["Done"]
            if answer["Changes"]:
                self._read_to = answer["Last"]
                self._not_done_with.append((self._read_to, time.monotonic()))
        self._interesting = {self._settled}

    def _note(self, change: dict[str, Any]) -> None:
        try:
            series = self._series_of(change)
        except Missing:
            return
        for series_id in series:
            self._to_consider[series_id] = None
            if change["Seq"] <= self._end_at_start and series_id not in self._known:
                self._while_away.add(series_id)

    def _series_of(self, change: dict[str, Any]) -> list[str]:
        match change["ResourceType"]:
            case "Instance":
                return [self._orthanc.get(f"/instances/{change['ID']}")["ParentSeries"]]
            case "Study":
                return list(self._orthanc.get(f"/studies/{change['ID']}")["Series"])
        return [change["ID"]]

    def _consider_all(self) -> None:
        for series_id in list(self._to_consider):
            # First, so that one whose consideration is at fault holds up no other for ever.
            del self._to_consider[series_id]
            try:
                self._consider(series_id)
            except OrthancError as error:
                self._orthanc.log_error(f"series {series_id} is looked at again shortly: {error}")
                self._to_consider[series_id] = None
        if not self._to_consider:
            self._advance()

    def _consider(self, series_id: str) -> None:
        try:
            self.on_arrived(series_id)
            if not self._automatic:
                return
            job = self._intake.offer(series_id, Door.ARRIVED)
        except (Missing, NotAdmitted):
            return
        if isinstance(job, Job):
            self._orthanc.log(f"series {series_id} is segmented by job {job.id}")
            self.arrived_while_away += series_id in self._while_away

    def _end_of_absence(self) -> None:
        if self._while_away and self.arrived_while_away:
            count = self.arrived_while_away
            self._orthanc.log(f"series that arrived while the plugin was away: {count}")
        self._while_away.clear()

    def _advance(self) -> None:
        lag_s = self._lag_s + _MARGIN_S if self._automatic else 0.0
        safe = None
        while self._not_done_with and time.monotonic() - self._not_done_with[0][1] >= lag_s:
            safe = self._not_done_with.popleft()[0]
        if safe is not None:
            self._queue.advance(safe)


def place_to_begin(orthanc: Orthanc, kept: int, end: int) -> int:
    """The place that was kept, unless the log is no longer the one that it was in.

    end: the log's end, looked up before.
    """
    if kept <= end:
        return kept
    orthanc.log_error(
        f"the change log ends at {end}, before {kept}, to where it had been read: it is read from "
        f"its end on; ask for a backfill of what arrived in the meantime"
    )
    return end


def end_of_log(orthanc: Orthanc) -> int:
    """The place in the change log from which on everything is still to come."""
    return int(orthanc.get("/changes?last")["Last"])
