"""An accepted outline stored anew as APPROVED, beside the one that was accepted.

The new RTSTRUCT's UID follows from the decision, so that storing it twice stores one. The former
one stays, for it is what was decided on, and bears metadata 4504 that names the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterable

from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import mark_rejected, mark_superseded, unmark_superseded
from orthanc_liver.host.jobs.storing import is_result_in
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.server.api import Missing, Orthanc, Series
from orthanc_liver.host.server.times import text_of


def approved_uid(review: Review) -> str:
    """The SOP Instance UID of what comes of an acceptance."""
    decided = "\n".join(["approved", review.rtstruct, review.by, text_of(review.time)])
    digest = hashlib.sha256(decided.encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def find_approved(orthanc: Orthanc, review: Review | None, study: str) -> str | None:
    """Orthanc's id of what came of an acceptance, None where nothing did."""
    if review is None or review.verdict is not Verdict.ACCEPTED:
        return None
    found = orthanc.instances_with(approved_uid(review))
    return next((one for one in found if is_result_in(orthanc, one, study)), None)


def store_approved(
    orthanc: Orthanc, series: Series, review: Review, former: str | None = None
) -> str:
    """Store it, unless it is there, and return Orthanc's id. OrthancError where that fails.

    former: what came of an acceptance of the same outline before, which it takes the place of.
    """
    approved = find_approved(orthanc, review, series.study)
    if approved is None:
        changed = {
            "SOPInstanceUID": approved_uid(review),
            "ApprovalStatus": "APPROVED",
            "ReviewDate": review.time.strftime("%Y%m%d"),
            "ReviewTime": review.time.strftime("%H%M%S"),
            "ReviewerName": review.by,
        }
        stored = orthanc.post("/instances", orthanc.modified(review.rtstruct, changed))
        approved = str(stored["ID"])
    for instance in {review.rtstruct, former or review.rtstruct} - {approved}:
        mark_superseded(orthanc, instance, by=approved_uid(review))
    return approved


def supersede_approved(orthanc: Orthanc, reviews: Iterable[Review], job: Job) -> None:
    """Note on what people accepted of former results that there is a newer one. It is never
    deleted: somebody answers for it. reviews: all of the series, the last one last."""
    last = {one.rtstruct: one for one in reviews}
    for rtstruct, review in last.items():
        approved = find_approved(orthanc, review, job.study)
        if approved is None:
            continue
        if rtstruct == job.rtstruct:
            unmark_superseded(orthanc, approved)  # its slices are what they were again
            continue
        with contextlib.suppress(Missing):  # somebody deleted it meanwhile
            mark_superseded(orthanc, approved, by=job.rtstruct_uid)
            orthanc.log(f"job {job.id}: its result supersedes {approved}, approved: marked")


def mark_as_rejected(orthanc: Orthanc, review: Review, former: str | None) -> None:
    """Note the rejection on the outline, and on what came of an acceptance before it."""
    for instance in filter(None, (review.rtstruct, former)):
        mark_rejected(orthanc, instance, at=text_of(review.time))
