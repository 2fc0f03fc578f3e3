"""A list of studies whose series are taken up one after another, while nothing newer waits.

What is left to do outlives a restart.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orthanc_liver.host.errors import NoModelYet, NotAdmitted, NotAllowed
from orthanc_liver.host.intake.intake import Door, Intake, Settled
from orthanc_liver.host.intake.place import Place, Stage
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.server.times import text_of

MAX_STUDIES = 2000
LOOK_S = 0.5
_IDLE_S = 60.0


@dataclass(frozen=True)
class Pace:
    """pause_s: between two series; at_once: of how many unfinished jobs the next may be last."""

    pause_s: float
    at_once: int = 1


class Paced(ABC):
    """At most one list at a time, in a thread of its own. what: its name, as in "no ... is
    running"; door: by which its series come to us."""

    def __init__(
        self, what: str, orthanc: Orthanc, queue: JobQueue, intake: Intake, door: Door, pace: Pace
    ) -> None:
        self._what = what
        self._orthanc = orthanc
        self._queue = queue
        self._intake = intake
        self._door = door
        self._pace = pace
        self.thread = Background(what, orthanc, self._turn)
        self._lock = threading.RLock()
        self._place: Place | None = None
        self._series_left: list[str] | None = None  # of the study at `done`; None: not looked yet
        self._job: str | None = None

    @abstractmethod
    def _count(self) -> int:
        """How many studies there are in the list."""

    @abstractmethod
    def _open(self, place: Place) -> list[str] | float:
        """The series of the study at `done`, or after how many seconds to ask again.

        Called without the lock, for it may wait for another server.
        """

    @abstractmethod
    def _keep(self, place: Place) -> None:
        """Keep in Orthanc how far it is."""

    def cancel(self) -> None:
        """Take up no more series; one that runs is finished. NotAllowed where none is running."""
        with self._lock:
            if self._place is None or not self._is_running:
                raise NotAllowed(f"no {self._what} is running")
            self._place.stage = Stage.CANCELLED
            self._keep(self._place)

    @property
    def _is_running(self) -> bool:
        return self._place is not None and self._place.stage is Stage.RUNNING

    def _begin(self) -> None:
        self._place, self._series_left, self._job = Place(datetime.now(UTC)), None, None
        self._keep(self._place)

    def _turn(self) -> float:
        """Do a little and say how long to wait before the next step, in seconds."""
        with self._lock:
            place = self._place
            if place is None or not self._is_running:
                return _IDLE_S
            if self._series_left is not None:
                return self._go_on(place, self._series_left)
            if place.done >= self._count():
                place.stage = Stage.DONE
                self._keep(place)
                return _IDLE_S
        opened = self._open(place)
        if isinstance(opened, float):
            return opened
        with self._lock:
            if self._place is place:  # else another list has begun meanwhile
                self._series_left = opened
        return 0.0

    def _go_on(self, place: Place, left: list[str]) -> float:
        if self._queue.unfinished() >= self._pace.at_once:
            return LOOK_S
        if self._job:
            self._job = None
            return self._pace.pause_s
        if left:
            return self._take_series(place, left)
        self._series_left = None
        place.done += 1
        self._keep(place)
        return 0.0

    def _take_series(self, place: Place, left: list[str]) -> float:
        # First, so that one whose consideration is at fault holds up no other for ever.
        series_id = left.pop(0)
        try:
            job = self._intake.offer(series_id, self._door)
        except (Missing, NotAdmitted):
            return 0.0
        except NoModelYet:
            left.insert(0, series_id)
            return LOOK_S
        except OrthancError:
            left.insert(0, series_id)
            raise
        if isinstance(job, Settled):
            place.skipped += 1
            return 0.0
        self._job = job.id
        place.submitted += 1
        return LOOK_S

    def _shown(self, place: Place) -> dict[str, Any]:
        return {
            "State": str(place.stage),
            "CreationTime": text_of(place.created),
            "Studies": self._count(),
            "Done": place.done,
        }
