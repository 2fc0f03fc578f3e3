"""What goes before its study, by age, and what must go because its study has gone.

Orthanc itself deletes what lies on a series with it. What the plugin's own properties say of a
series goes when Orthanc tells of the deletion, and here where it could not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from orthanc_liver.host.intake.pull import Pull
from orthanc_liver.host.jobs.job import UNFINISHED
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger, forget_pictures
from orthanc_liver.host.quality.quality_control import QualityControl
from orthanc_liver.host.review.clearance import Clearances
from orthanc_liver.host.server.api import Missing, Orthanc
from orthanc_liver.host.server.background import Background

_AT_ONCE = 100
_BETWEEN_PAGES_S = 1.0
_A_DAY_S = 86_400.0
# A pull's numbers belong to no study that could take them along.
_DAYS_OF_A_PULL = 30


class Retention:
    """Looks once a day and after each start; days: 0 where all stays as long as its study."""

    def __init__(
        self,
        orthanc: Orthanc,
        ledger: Ledger,
        queue: JobQueue,
        quality: QualityControl,
        clearances: Clearances,
        pull: Pull,
        days: int,
    ) -> None:
        self._orthanc = orthanc
        self._ledger = ledger
        self._queue = queue
        self._quality = quality
        self._clearances = clearances
        self._pull = pull
        self._days = days
        self._since = 0  # how many of Orthanc's series this look is done with
        self.thread = Background("retention", orthanc, self._turn)

    def _turn(self) -> float:
        now = datetime.now(UTC)
        if self._since == 0:
            self._forget_what_is_gone()
            of_pull = min(self._days or _DAYS_OF_A_PULL, _DAYS_OF_A_PULL)
            if count := self._pull.forget(now - timedelta(days=of_pull)):
                self._orthanc.log(f"deleted by age: the last pull and its {count} numbers")
        if not self._days:
            return _A_DAY_S
        page = self._orthanc.get(f"/series?since={self._since}&limit={_AT_ONCE}")
        self._clear(page, now - timedelta(days=self._days))
        self._since += len(page)
        if len(page) == _AT_ONCE:
            return _BETWEEN_PAGES_S
        self._since = 0
        return _A_DAY_S

    def _forget_what_is_gone(self) -> None:
        gone = 0
        for series_id in {*self._clearances.series(), *self._quality.series()}:
            try:
                self._orthanc.get(f"/series/{series_id}")
            except Missing:
                self._clearances.forget(series_id)
                self._quality.forget(series_id)
                gone += 1
        if gone:
            self._orthanc.log(f"series that were deleted unseen, and are forgotten: {gone}")

    def _clear(self, page: list[str], before: datetime) -> None:
        cleared: dict[str, tuple[int, int]] = {}
        try:
            for series_id in page:
                self._clear_one(series_id, before, cleared)
        finally:  # what is gone is told, also where Orthanc fails after it
            self._tell(cleared)

    def _tell(self, cleared: Mapping[str, tuple[int, int]]) -> None:
        of = [series_id for series_id, counts in cleared.items() if any(counts)]
        if of:
            pictures, comparisons = (sum(counts) for counts in zip(*cleared.values(), strict=True))
            self._orthanc.log(
                f"deleted by age (RetentionDays {self._days}): {pictures} pictures and "
                f"{comparisons} comparisons of {len(of)} series: {', '.join(of)}"
            )

    def _clear_one(
        self, series_id: str, before: datetime, cleared: dict[str, tuple[int, int]]
    ) -> None:
        """cleared: gets how many pictures and comparisons of the series went."""
        record = self._ledger.read_record(series_id)
        if record is None or (record.job.completed or before) >= before:
            return
        with self._queue.standing_still():
            # Its pictures are made anew, before the series says so.
            if any(job.state in UNFINISHED for job in self._queue.jobs_of(series_id)):
                return
            pictures = forget_pictures(self._orthanc, series_id)
            cleared[series_id] = pictures, 0
            cleared[series_id] = pictures, self._quality.drop(series_id)
