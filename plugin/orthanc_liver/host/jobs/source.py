"""Whether the files that a job read are those that its series holds now.

Orthanc's ids come from UIDs alone. With OverwriteInstances other pixels, or another position, may
come under the same ids, so the MD5 of each file tells them apart. It is asked for only where
something has arrived since: the worker computes its own from what it reads anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.server.api import Orthanc, OrthancError, Series


def is_source(orthanc: Orthanc, job: Job, series: Series) -> bool:
    """Whether the job read, or refused to read, what the series holds now."""
    if job.source_key != series.source_key:
        return False
    if not _may_have_changed(job, series):
        return True
    return bool(job.files_key) and job.files_key == files_key(
        {instance: stored_md5(orthanc, instance) for instance in series.instances}
    )


def warnings_of_parts(orthanc: Orthanc, series: Series) -> list[str]:
    """Of structure sets in the series, and of its images that Orthanc files elsewhere: its ids are
    made from PatientID and StudyInstanceUID too, so a correction in between splits a series."""
    uid = series.tags.get("SeriesInstanceUID", "")
    others = [one for one in orthanc.series_with(uid) if one != series.id] if uid else []
    return [
        f"Images of this series are also filed under another patient or study (series {other}): "
        "the outline shows only the part that is here."
        for other in others
    ] + [
        f"RTSTRUCT {one} bears the CT's own SeriesInstanceUID: it is no slice, and was left out."
        for one in series.structure_sets
    ]


def files_key(md5: Mapping[str, str]) -> str:
    """The same for the same files, in whatever order; md5: by Orthanc's id."""
    return hashlib.sha256("\n".join(sorted(map(" ".join, md5.items()))).encode()).hexdigest()


def md5_of(file: bytes) -> str:
    """As Orthanc writes it."""
    return hashlib.md5(file, usedforsecurity=False).hexdigest()


def stored_md5(orthanc: Orthanc, instance: str) -> str:
    """What tells a file from another that is stored in its place."""
    try:
        return orthanc.get_bytes(f"/instances/{instance}/attachments/dicom/md5").decode()
    except OrthancError:  # an Orthanc that keeps no check sums
        return md5_of(orthanc.dicom_file(instance))


def _may_have_changed(job: Job, series: Series) -> bool:
    if job.source_updated is None:  # the job of an earlier version, or one that read nothing
        return series.last_update > (job.started or job.created)
    return series.last_update != job.source_updated
