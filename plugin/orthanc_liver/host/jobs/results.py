"""What becomes of a result, in this order: written down, stored, superseding, sent, ended.

When it is sent, and whether, is also what a person decided of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orthanc_liver.engine.protocol import SURE, Outcome
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import destinations_of
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.storing import Pictures, sop_instance_uid, store_beside
from orthanc_liver.host.jobs.superseded import supersede, withdraw
from orthanc_liver.host.review.approval import (
    find_approved,
    mark_as_rejected,
    store_approved,
    supersede_approved,
)
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

    def restore(self) -> None:
        """Orthanc may have been killed, or the settings changed, after something was decided."""
        for one in self._deliveries.unfinished():
            if not all(map(self._orthanc.has_instance, one.instances)):
                self._deliveries.lose(one)  # nobody could decide on it any more
                continue
            record = self._ledger.read_record(one.series)
            job = record.job if record and record.job.id == one.job else None
            review = self._reviews.of(one.series, next(iter(one.instances), ""))
            if review:
                self._settle(self._orthanc.series(one.series), review)
            elif self._waits_for_people(job) and not self._is_approved(one):
                self._deliveries.hold(one)

    def keep(
        self, job: Job, series: Series, objects: Sequence[tuple[str, bytes]], pictures: Pictures
    ) -> None:
        """End a running job with these objects, unless it has been cancelled meanwhile.

        Errors: see store_beside. Whatever stops this half way, the next attempt finds what it had
        stored, for the job bears the UIDs from before.
        """
        if not self._queue.claim_storing(job, [sop_instance_uid(*one) for one in objects]):
            return
        record = self._ledger.read_record(series.id)
        rtstruct, *further = store_beside(self._orthanc, series, objects, pictures)
        job.result = {**rtstruct, "Further": further}
        _warn_of_others(job, [rtstruct, *further])
        supersede(self._orthanc, record, job, keep=self._settings.keep_superseded)
        supersede_approved(self._orthanc, self._ledger.read_reviews(series.id), job)
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
            if review and review.verdict is Verdict.ACCEPTED:
                instances = [store_approved(self._orthanc, series, review), *instances[1:]]
            is_held = review is None and self._waits_for_people(job)
            is_rejected = review is not None and review.verdict is Verdict.REJECTED
            held = is_held or is_rejected
            self._deliveries.add(job, instances, destinations, again=again, is_held=held)
            if review:
                self._settle(series, review)

    def decide(self, job: Job, series: Series, review: Review) -> None:
        """Keep what a person decided of the job's result, and send it or never do."""
        with self._reviews.standing_still():
            before = self._reviews.of(job.series, review.rtstruct)
            self._reviews.add(review)
            self._settle(series, review, before)
            if review.verdict is Verdict.ACCEPTED:
                self._deliveries.restore([job.series])  # who has it already
                self.send(job, series, again=False)

    def _settle(self, series: Series, review: Review, before: Review | None = None) -> None:
        """Do what follows from a decision; twice does no harm."""
        former = find_approved(self._orthanc, before, series.study)
        if review.verdict is Verdict.ACCEPTED:
            approved = store_approved(self._orthanc, series, review, former)
            self._deliveries.release(review.rtstruct, approved)
            return
        mark_as_rejected(self._orthanc, review, former)
        for instance in filter(None, (review.rtstruct, former)):
            self._deliveries.refuse(instance, f"the outline was rejected: {review.reason}")

    def _waits_for_people(self, job: Job | None) -> bool:
        """Whether nothing leaves before a person accepts; jobs of earlier versions have no grade,
        and wait as doubtful ones do."""
        after = self._settings.send_after
        grade = job.grade if job else None
        return after == "accepted" or (after == "accepted-if-doubtful" and grade != SURE)

    def _is_approved(self, one: Delivery) -> bool:
        """Whether it takes what an acceptance came to, which is not what was decided on."""
        reviews = self._ledger.read_reviews(one.series)
        series = self._orthanc.series(one.series)
        approved = (find_approved(self._orthanc, each, series.study) for each in reviews)
        return bool(set(filter(None, approved)) & set(one.instances))


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
