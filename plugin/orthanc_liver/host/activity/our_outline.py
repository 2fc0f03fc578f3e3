"""What is known against our own outline, whatever name an activity chose it by."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

from orthanc_liver.engine.protocol import DOUBTFUL
from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Record, read_cut
from orthanc_liver.host.review.approval import find_approved
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.server.api import Missing, Orthanc
from orthanc_liver.sirt.inputs import ActivityRefused, read_report

REJECTED = "the outline was rejected on the review page: correct it, or accept it there"


def doubts_about_ours(
    orthanc: Orthanc, record: Record | None, reviews: Sequence[Review], chosen: Collection[str]
) -> tuple[str, ...]:
    """Warnings of the last job and its reviews, where an RTSTRUCT of those chosen is its result,
    an accepted copy of that, or holds parts cut from it."""
    job = record.job if record else None
    if job is None or job.result is None:
        return ()
    ours = {job.rtstruct, *(find_approved(orthanc, one, job.study) for one in reviews)}
    if not any(one in ours or _is_cut_from(orthanc, one, job) for one in chosen):
        return ()
    with contextlib.suppress(ActivityRefused):  # a report that cannot be read tells nothing
        _, warnings = read_report(job.report, "segmentation")
        return (*warnings, *judged(job, reviews))
    return judged(job, reviews)


def judged(job: Job, reviews: Sequence[Review]) -> tuple[str, ...]:
    """A warning where its outline was rejected, or is doubtful and nobody has accepted it."""
    verdicts = [one.verdict for one in reviews if one.rtstruct == job.rtstruct][-1:]
    if verdicts == [Verdict.REJECTED]:
        return (REJECTED,)
    if job.grade == DOUBTFUL and not verdicts:
        return ("the outline is doubtful and nobody has accepted it: judge it on the review page",)
    return ()


def _is_cut_from(orthanc: Orthanc, instance: str, job: Job) -> bool:
    try:
        cut = read_cut(orthanc, instance)
    except (Missing, NotOurs):
        return False
    return job.rtstruct in orthanc.instances_with(cut.outline)
