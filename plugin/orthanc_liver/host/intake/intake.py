"""Whether a series needs a job: one rule, and three doors by which a series comes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from orthanc_liver.host.errors import NoModelYet, NotAdmitted
from orthanc_liver.host.intake.copies import is_outlined_copy, look_at_result
from orthanc_liver.host.intake.series_filter import SeriesFilter
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger, Record
from orthanc_liver.host.jobs.source import is_source
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.server.image_series import image_series
from orthanc_liver.host.settings import Settings

_BACKFILL_PRIORITY = -100


class Door(Enum):
    """How a series comes to us."""

    ARRIVED = auto()
    ASKED = auto()
    BACKFILL = auto()


@dataclass(frozen=True)
class Settled:
    """There is nothing to do: this job of the same instances has ended."""

    job: Job


class Intake:
    """Every series passes here before it becomes a job.

    model_sha256: tells which model would run now, empty as long as none is loaded.
    """

    def __init__(
        self,
        orthanc: Orthanc,
        queue: JobQueue,
        ledger: Ledger,
        settings: Settings,
        model_sha256: Callable[[], str],
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._ledger = ledger
        self._filter = SeriesFilter(orthanc, settings)
        self._model_sha256 = model_sha256

    def offer(self, series_id: str, door: Door, *, force: bool = False) -> Job | Settled:
        """The job that segments the series as it is now, or the one that settled it.

        Raises NotAdmitted, Missing where there is no such series, or, at the backfill's door
        only, NoModelYet.
        """
        series = self._orthanc.series(series_id)
        if door is Door.ARRIVED:
            look_at_result(self._orthanc, series)
        series = image_series(self._orthanc, series)
        by_itself = door is not Door.ASKED
        admits = self._filter.why_not_by_itself if by_itself else self._filter.why_not
        if refusal := admits(series):
            raise NotAdmitted(refusal)
        if door is Door.BACKFILL and not self._model_sha256():
            raise NoModelYet("no model is loaded yet")
        if by_itself and is_outlined_copy(self._orthanc, series):
            raise NotAdmitted("it is a copy that Orthanc made, and holds our outline of its slices")
        if force:
            return self._queue.submit(series, force=True, priority=_priority(door))
        # Files may have to be read for it: nobody has to wait for the queue meanwhile.
        seen = self._ledger.read_record(series_id)
        is_settled = self._is_settled(seen, series, door)
        # Else a job could end after its record was read and before the queue is asked.
        with self._queue.standing_still():
            record = self._ledger.read_record(series_id)
            if record != seen:
                is_settled = self._is_settled(record, series, door)
            if record and is_settled:
                if door is Door.ASKED:
                    self._queue.adopt(record.job)
                return Settled(record.job)
            return self._queue.submit(series, force=False, priority=_priority(door))

    def _is_settled(self, record: Record | None, series: Series, door: Door) -> bool:
        if record is None or not is_source(self._orthanc, record.job, series):
            return False
        if door is Door.ARRIVED:
            # Also after another model's job: an old series gets a new model only when somebody
            # asks, and a failed job another attempt.
            return True
        if not record.settles(series.source_key, self._model_sha256()):
            return False
        job = record.job
        return job.result is None or self._orthanc.has_instance(job.rtstruct)


def _priority(door: Door) -> int:
    return _BACKFILL_PRIORITY if door is Door.BACKFILL else 0
