"""What becomes of a result, in this order: written down, stored, superseding, sent, ended."""

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
from orthanc_liver.host.jobs.superseded import supersede
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
        settings: Settings,
    ) -> None:
        self._orthanc = orthanc
        self._queue = queue
        self._ledger = ledger
        self._deliveries = deliveries
        self._settings = settings

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

    def send(self, job: Job, series: Series, *, again: bool) -> None:
        """Hand the job's result to today's destinations; Missing where the series is gone.

        again: also to those that have it.
        """
        destinations = destinations_of(self._orthanc, self._settings, series)
        self._deliveries.add(job, job.result_instances, destinations, again=again)


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
