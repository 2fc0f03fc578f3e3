"""What becomes of a result, in this order: written down, stored, superseding, sent, ended.

When it is sent, and whether, is also what a person decided of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from orthanc_liver.engine.protocol import Kind, Outcome
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import recipient_of, recipients_of
from orthanc_liver.host.jobs.job import Job, instances_by_kind
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.storing import Pictures, sop_instance_uid, store_beside
from orthanc_liver.host.jobs.study_labels import StudyLabels
from orthanc_liver.host.jobs.superseded import supersede, withdraw
from orthanc_liver.host.review.approval import (
    find_approved,
    mark_as_rejected,
    store_approved,
    supersede_approved,
)
from orthanc_liver.host.review.clearance import Clearances
from orthanc_liver.host.review.cuts import settle_cuts, standing_cuts
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.review.reviews import Reviews
from orthanc_liver.host.server.api import Missing, Orthanc, Series
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
        clearances: Clearances,
        settings: Settings,
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._ledger = ledger
        self._deliveries = deliveries
        self._reviews = reviews
        self._clearances = clearances
        self._settings = settings
        self._one_at_a_time = threading.RLock()
        self.labels = StudyLabels(orthanc, ledger, clearances, is_on=settings.labels)

    def restore(self, finished: Iterable[Job]) -> None:
        """Orthanc may have been killed, or the settings changed, after something was decided."""
        self.labels.begin()
        for job in finished:
            self._show_decision(job)
            self.labels.renew(job.study)
        for one in [*self._deliveries.unfinished(), *self._deliveries.awaiting_proof()]:
            try:
                self._decide_again(one)
            except Missing:  # deleted in part meanwhile: nobody could decide on it any more
                self._deliveries.lose(one)

    def _decide_again(self, one: Delivery) -> None:
        if not self._orthanc.has_instance(one.instance):
            raise Missing(one.instance)
        clearance = self._clearances.of(one.series, one.outline)
        recipient = recipient_of(self._settings, one.destination, one.kind)
        if clearance.review:
            self._settle(self._orthanc.series(one.series), clearance.review)
        elif not clearance.opens(recipient.when):
            self._deliveries.hold(one)

    def keep(
        self, job: Job, series: Series, objects: Sequence[tuple[str, bytes]], pictures: Pictures
    ) -> None:
        """End a running job with these objects, unless it has been cancelled meanwhile.

        Errors: see store_beside. Whatever stops this half way, the next attempt finds what it had
        stored, for the job bears the UIDs from before.
        """
        with self._one_at_a_time:
            self._keep(job, series, objects, pictures)

    def _keep(
        self, job: Job, series: Series, objects: Sequence[tuple[str, bytes]], pictures: Pictures
    ) -> None:
        if not self._queue.claim_storing(job, [sop_instance_uid(*one) for one in objects]):
            return
        record = self._ledger.read_record(series.id)
        rtstruct, *further = store_beside(self._orthanc, series, objects, pictures)
        job.result = {**rtstruct, "Further": further}
        _warn_of_others(job, [rtstruct, *further])
        supersede(self._orthanc, record, job, keep=self._settings.keep_superseded)
        noted = self._ledger.read_reviews(series.id)
        decided = self._clearances.decided(series.id, ())  # and may have lost its note
        supersede_approved(self._orthanc, [*noted, *decided], job)
        self.settle_parts(job, series)
        self._clearances.note_grade(series.id, rtstruct["Instance"], job.grade or "")
        self.send(job, series, again=False)
        job.intended_uids = []
        self._queue.succeed(job, Outcome.SEGMENTED)
        self.labels.renew(job.study)

    def end_without(self, job: Job, outcome: Outcome, reason: str = "") -> None:
        """End a running job that came to no result."""
        with self._one_at_a_time:
            withdraw(self._orthanc, self._ledger.read_record(job.series), job)
            if outcome is Outcome.NO_LIVER:
                self._queue.succeed(job, outcome)
            else:
                self._queue.fail(job, outcome, reason)
            self.labels.renew(job.study)

    def send(self, job: Job, series: Series, *, again: bool) -> None:
        """Hand the job's result, and what people cut of it, to today's recipients; Missing where
        the series is gone.

        again: also to those that have it.
        """
        recipients = recipients_of(self._orthanc, self._settings, series)
        together = instances_by_kind(job.result or {})
        outline = together[0][1][0]
        with self._reviews.standing_still():
            clearance = self._clearances.of(job.series, outline)
            review = clearance.review
            put = {}
            if review and review.verdict is Verdict.ACCEPTED:
                put[outline] = store_approved(self._orthanc, series, review)
            new = [
                Delivery(
                    job=job.id,
                    series=job.series,
                    outline=outline,
                    instance=put.get(instance, instance),
                    kind=kind,
                    destination=recipient.destination,
                    others=tuple(others),
                    is_held=not clearance.opens(recipient.when),
                )
                for recipient in recipients
                for kind, [instance, *others] in together
                if recipient.takes(kind)
            ]
            self._deliveries.add(job, new, again=again)
            for instance in standing_cuts(self._orthanc, series.id, series.study, job.rtstruct_uid):
                self.send_parts(job, series, instance, again=again)
            if review:
                self._settle(series, review)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Meanwhile no result is stored, and nobody decides anything."""
        with self._one_at_a_time, self._reviews.standing_still():
            yield

    def settle_parts(self, job: Job, series: Series) -> None:
        """Of the parts that people cut of a series, mark what no longer stands, and send it no
        further; twice does no harm."""
        for instance in settle_cuts(self._orthanc, series.id, series.study, job.rtstruct_uid):
            self._deliveries.refuse(instance, "newer parts, or a newer outline, took their place")
            self._orthanc.log(f"instance {instance}, parts of a liver, is superseded: marked")

    def send_parts(self, job: Job, series: Series, instance: str, *, again: bool = False) -> None:
        """Hand the RTSTRUCT of parts of the job's outline to those who take one, when the outline
        may go there; again: see send."""
        clearance = self._clearances.of(series.id, job.rtstruct)
        new = [
            Delivery(
                job=job.id,
                series=series.id,
                outline=job.rtstruct,
                instance=instance,
                kind=Kind.RTSTRUCT,
                destination=one.destination,
                is_held=not clearance.opens(one.when),
            )
            for one in recipients_of(self._orthanc, self._settings, series)
            if one.takes(Kind.RTSTRUCT)
        ]
        self._deliveries.add(job, new, again=again)

    def decide(self, job: Job, series: Series, review: Review) -> None:
        """Keep what a person decided of the job's result, and send it or never do.

        What is acted on is written first: the note on the series shows it.
        """
        with self._reviews.standing_still():
            before = self._clearances.of(job.series, review.rtstruct).review
            self._clearances.note_review(review)
            self._reviews.add(review)
            self._settle(series, review, before)
            if review.verdict is Verdict.ACCEPTED:
                self._deliveries.restore([job.series])  # who has it already
                self.send(job, series, again=False)
        self.labels.renew(job.study)

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

    def _show_decision(self, job: Job) -> None:
        """Write the note that a kill may have kept from being written."""
        for outline in job.result_instances[:1]:
            review = self._clearances.of(job.series, outline).review
            if review and review not in self._ledger.read_reviews(job.series):
                self._reviews.write_again(review)


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
