"""What becomes of a result, in this order: written down, stored, superseding, sent, ended.

When it is sent, and whether, is also what a person decided of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.destinations import destinations_of
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.storing import sop_instance_uid, store_beside
from orthanc_liver.host.jobs.superseded import supersede, withdraw
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.review.reviews import Reviews
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.settings import Settings


class Results:
    """Takes what the engine made of a series to where it belongs."""

    def __init__(
        self,
        orthanc: Orthanc,
        queue: JobQueue,
        ledger: Ledger,
        deliveries: Deliveries,
        reviews: Reviews,
        settings: Settings,
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._ledger = ledger
        self._deliveries = deliveries
        self._reviews = reviews
        self._settings = settings
        self._waits_for_people = settings.send_after == "accepted"

    def restore(self) -> None:
        """Orthanc may have been killed, or the settings changed, after something was decided."""
        for one in self._deliveries.unfinished():
            if not all(map(self._orthanc.has_instance, one.instances)):
                self._deliveries.lose(one)  # nobody could decide on it any more
                continue
            review = self._reviews.of(one.series, next(iter(one.instances), ""))
            self._settle(review)
            if self._waits_for_people and not review:
                self._deliveries.hold(one)

    def keep(
        self, job: Job, series: Series, objects: Sequence[tuple[str, bytes]], preview_png: bytes
    ) -> None:
        """End a running job with these objects, unless it has been cancelled meanwhile.

        Errors: see store_beside. Whatever stops this half way, the next attempt finds what it had
        stored, for the job bears the UIDs from before.
        """
        if not self._queue.claim_storing(job, [sop_instance_uid(*one) for one in objects]):
            return
        record = self._ledger.read_record(series.id)
        rtstruct, *further = store_beside(self._orthanc, series, objects, preview_png)
        job.result = {**rtstruct, "Further": further}
        _warn_of_others(job, [rtstruct, *further])
        supersede(self._orthanc, record, job, keep=self._settings.keep_superseded)
        self.send(job, series, again=False)
        job.intended_uids = []
        self._queue.succeed(job, Outcome.SEGMENTED)

    def end_without(self, job: Job, outcome: Outcome, reason: str = "") -> None:
        """End a running job that came to no result."""
        withdraw(self._orthanc, self._ledger.read_record(job.series), job)
        if outcome is Outcome.NO_LIVER:
            self._queue.succeed(job, outcome)
        else:
            self._queue.fail(job, outcome, reason)

    def send(self, job: Job, series: Series, *, again: bool) -> None:
        """Hand the job's result to today's destinations; Missing where the series is gone.

        again: also to those that have it.
        """
        destinations = destinations_of(self._orthanc, self._settings, series)
        instances = job.result_instances
        with self._reviews.standing_still():
            review = self._reviews.of(job.series, instances[0])
            is_accepted = review is not None and review.verdict is Verdict.ACCEPTED
            is_held = not is_accepted and (review is not None or self._waits_for_people)
            self._deliveries.add(job, instances, destinations, again=again, is_held=is_held)
            self._settle(review)

    def decide(self, job: Job, series: Series, review: Review) -> None:
        """Keep what a person decided of the job's result, and send it or never do."""
        with self._reviews.standing_still():
            before = self._reviews.of(job.series, review.rtstruct)
            self._reviews.add(review)
            self._settle(review)
            if review.verdict is Verdict.ACCEPTED and (before or self._waits_for_people):
                self._deliveries.restore([job.series])  # who has it already
                self.send(job, series, again=False)

    def _settle(self, review: Review | None) -> None:
        if review and review.verdict is Verdict.ACCEPTED:
            self._deliveries.release(review.rtstruct)
        elif review:
            self._deliveries.refuse(review.rtstruct, f"the outline was rejected: {review.reason}")


def _warn_of_others(job: Job, kept: Sequence[Mapping[str, Any]]) -> None:
    report = job.report or {}
    warnings = [
        f"The {one['Kind']} that lies beside the CT is not the one that this job made: under its "
        f"UID there was another, which stays, and differs in {', '.join(one['DiffersIn'])}."
        for one in kept
        if "DiffersIn" in one
    ]
    if warnings:
        job.report = {**report, "warnings": [*report.get("warnings", []), *warnings]}
