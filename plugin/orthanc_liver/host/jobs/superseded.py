"""A new result takes the place of the former one of the same series and model, and says so.

It happens when a slice came late, or when the settings of the output changed. The former RTSTRUCT
and what was stored with it are kept, with metadata 4504 that names the new one, or deleted, as
KeepSuperseded says. Where the series changed and nothing came of it, they stay, and metadata 4504
says so. So is what an attempt stored that was cut off before it could say so.
"""

from __future__ import annotations

import contextlib
from typing import Any

from orthanc_liver.host.jobs.job import Job, instances_of
from orthanc_liver.host.jobs.records import (
    Record,
    mark_outdated,
    mark_superseded,
    unmark_superseded,
)
from orthanc_liver.host.jobs.storing import is_result_in
from orthanc_liver.host.server.api import Missing, Orthanc


def supersede(orthanc: Orthanc, record: Record | None, job: Job, *, keep: bool) -> None:
    """Note in job.result what it takes the place of. Doing so twice does no harm."""
    if job.result is None:
        return
    former = _former_result(record, job)
    if former and former["Instance"] == job.rtstruct:
        if isinstance(former.get("Supersedes"), str):
            job.result["Supersedes"] = former["Supersedes"]
        former = None
    cut_off = _stored_by_attempts_cut_off(orthanc, record, job)
    if not former and not cut_off:
        return
    job.result["Supersedes"] = former["SopInstanceUid"] if former else next(iter(cut_off.values()))
    for instance in {*instances_of(former or {}), *cut_off} - set(job.result_instances):
        with contextlib.suppress(Missing):  # somebody deleted it already
            if is_result_in(orthanc, instance, job.study):
                _set_aside(orthanc, instance, job, keep=keep)
    for instance in job.result_instances:
        # Superseded itself before: a late slice came, and was deleted again.
        unmark_superseded(orthanc, instance)


def withdraw(orthanc: Orthanc, record: Record | None, job: Job) -> None:
    """Mark the former result where the series is no longer what it was made of, and the job that
    looked at it anew came to none."""
    former = record.result if record else None
    if former is None or (
        former.get("SourceKey") == job.source_key
        and former.get("FilesKey", job.files_key) == job.files_key
    ):
        return
    for instance in instances_of(former):
        with contextlib.suppress(Missing):
            if is_result_in(orthanc, instance, job.study):
                mark_outdated(orthanc, instance)
                orthanc.log(f"job {job.id}: instance {instance} is of slices that changed: marked")


def _stored_by_attempts_cut_off(
    orthanc: Orthanc, record: Record | None, job: Job
) -> dict[str, str]:
    """SOP Instance UIDs by Orthanc's id, RTSTRUCT first, of this job and of one that failed."""
    result = job.result or {}
    own = {one["SopInstanceUid"] for one in [result, *result["Further"]]}
    intended = [*job.intended_uids, *(record.job.intended_uids if record else [])]
    return {
        instance: uid
        for uid in dict.fromkeys(intended)
        if uid not in own
        for instance in orthanc.instances_with(uid)
        if is_result_in(orthanc, instance, job.study)
    }


def _former_result(record: Record | None, job: Job) -> dict[str, Any] | None:
    """The result of the same model."""
    former = record.result if record else None
    if former is None or not former.get("Model") or not job.model:
        return None
    return former if former["Model"].get("Sha256") == job.model["Sha256"] else None


def _set_aside(orthanc: Orthanc, instance: str, job: Job, *, keep: bool) -> None:
    if keep and job.result:
        mark_superseded(orthanc, instance, by=job.rtstruct_uid)
    else:
        orthanc.delete(f"/instances/{instance}")
    did = "marked" if keep else "deleted"
    orthanc.log(f"job {job.id}: its result supersedes instance {instance}, which is {did}")
