"""The Y-90 activity of a series in Orthanc: what was not given is looked up there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from orthanc_liver.host.activity.documents import Documents, store_documents
from orthanc_liver.host.activity.roi_of_series import roi_input
from orthanc_liver.host.jobs.job import Job, Outcome
from orthanc_liver.host.jobs.records import Ledger, Record
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.settings import Settings
from orthanc_liver.host.web.routes import HttpError
from orthanc_liver.sirt.activity import Activity, compute_activity
from orthanc_liver.sirt.inputs import (
    CHOICES,
    ROIS,
    ActivityRefused,
    Input,
    Inputs,
    read_choices,
    read_input,
    read_inputs,
    read_report,
)
from orthanc_liver.sirt.limits import limits_of_site
from orthanc_liver.sirt.methods import method_named

_OTHERWISE = "segment the series (again), or give LiverMl"
_DICOM_TAGS = {"HeightM": "PatientSize", "WeightKg": "PatientWeight"}


_DOCUMENTS = ("SEG", "SR")


def activity_of_series(
    orthanc: Orthanc,
    ledger: Ledger,
    settings: Settings,
    series_id: str,
    asked: Mapping[str, Any],
) -> Activity:
    """asked: the method and what is given, as in the request's body.

    Missing for an unknown series, ActivityRefused for inputs that make no sense, HttpError 409
    where the liver's volume is neither given nor known.
    """
    series = orthanc.series(series_id)
    method = method_named(asked.get("Method"))
    inputs = _given(asked) | _outlined(orthanc, series, asked)
    warnings: tuple[str, ...] = ()
    if "LiverMl" not in inputs:
        inputs["LiverMl"], warnings = _segmented_liver(
            ledger.read_record(series.id), orthanc, series
        )
    absent = [name for name in _DICOM_TAGS if name in method.needs and name not in inputs]
    inputs |= _from_dicom(orthanc, series, absent)
    chosen = read_choices({name: asked[name] for name in CHOICES if name in asked})
    limits = limits_of_site(settings.dose_limits_gy)
    return compute_activity(asked["Method"], inputs, warnings, chosen, limits)


def store_activity(
    orthanc: Orthanc,
    ledger: Ledger,
    settings: Settings,
    series_id: str,
    kinds: Sequence[str],
    activity: Activity,
) -> list[dict[str, str]]:
    """Store the activity as an SR, which refers to the SEG of the series' segmentation.

    kinds: of "SEG" and "SR"; an SR brings its SEG. HttpError 409 where no segmentation stands.
    """
    series = orthanc.series(series_id)
    job = _standing_job(ledger.read_record(series_id), orthanc, series)
    wanted = Documents(job, _DOCUMENTS if "SR" in kinds else kinds, activity.as_json())
    return store_documents(orthanc, series, settings, wanted)


def documents_asked(asked: Mapping[str, Any]) -> list[str]:
    """What the request's Store names; ActivityRefused for anything else."""
    kinds = asked.get("Store", [])
    if not isinstance(kinds, list) or any(kind not in _DOCUMENTS for kind in kinds):
        raise ActivityRefused(f"Store must be a list of {' and '.join(_DOCUMENTS)}")
    return kinds


def _given(asked: Mapping[str, Any]) -> Inputs:
    others = {"Method", "Store", "Rtstruct", *ROIS, *CHOICES}
    return read_inputs({name: value for name, value in asked.items() if name not in others})


def _outlined(orthanc: Orthanc, series: Series, asked: Mapping[str, Any]) -> Inputs:
    """The volumes of the ROIs that the request names."""
    rtstruct = asked.get("Rtstruct")
    if rtstruct is not None and not isinstance(rtstruct, str):
        raise ActivityRefused("Rtstruct must be Orthanc's id of an instance")
    found = {}
    for key, quantity in ROIS.items():
        if key not in asked:
            continue
        if quantity in asked:
            raise ActivityRefused(f"give {key} or {quantity}, not both: each is one volume")
        if not isinstance(asked[key], str):
            raise ActivityRefused(f"{key} must be the name of an ROI")
        try:
            found[quantity] = roi_input(orthanc, series, quantity, asked[key], rtstruct)
        except ActivityRefused as refusal:
            raise ActivityRefused(f"{key}: {refusal}") from refusal
    if rtstruct is not None and not found:
        raise ActivityRefused(f"Rtstruct goes with one of: {', '.join(ROIS)}")
    return found


def _segmented_liver(
    record: Record | None, orthanc: Orthanc, series: Series
) -> tuple[Input, tuple[str, ...]]:
    """The volume that the last job found, unless that job's result no longer stands."""
    job = _standing_job(record, orthanc, series)
    return read_report(job.report, f"segmentation, job {job.id}")


def _standing_job(record: Record | None, orthanc: Orthanc, series: Series) -> Job:
    if record is None:
        raise _conflict("the series has not been segmented")
    job = record.job
    if job.outcome is not Outcome.SEGMENTED or job.result is None:
        raise _conflict(f"the series' last job came to no liver volume ({job.outcome})")
    if job.source_key != series.source_key:
        raise _conflict("the series' instances are not those that were segmented")
    if not orthanc.has_instance(job.result["Instance"]):
        raise _conflict("the RTSTRUCT of the segmentation is no longer in Orthanc")
    return job


def _from_dicom(orthanc: Orthanc, series: Series, absent: list[str]) -> Inputs:
    """What the first instance says of the absent ones; 0 and empty say nothing."""
    if not absent:
        return {}
    tags = orthanc.get(f"/instances/{series.instances[0]}/simplified-tags")
    found = {}
    for name in absent:
        text = str(tags.get(_DICOM_TAGS[name], "")).strip()
        number = _number(text)
        if text and number != 0:
            found[name] = read_input(name, number, f"DICOM {_DICOM_TAGS[name]}")
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _conflict(problem: str) -> HttpError:
    return HttpError(HTTPStatus.CONFLICT, f"{problem}: {_OTHERWISE}")
