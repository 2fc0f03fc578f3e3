"""The Y-90 activity of a series in Orthanc: what was not given is looked up there."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from orthanc_liver.host.jobs import Outcome
from orthanc_liver.host.orthanc_api import Orthanc, Series
from orthanc_liver.host.records import Ledger
from orthanc_liver.host.routes import HttpError
from orthanc_liver.sirt.activity import Activity, compute_activity
from orthanc_liver.sirt.inputs import Input, Inputs, read_input, read_inputs, read_report
from orthanc_liver.sirt.methods import method_named

_OTHERWISE = "segment the series (again), or give LiverMl"
_DICOM_TAGS = {"HeightM": "PatientSize", "WeightKg": "PatientWeight"}


def activity_of_series(
    orthanc: Orthanc, ledger: Ledger, series_id: str, asked: Mapping[str, Any]
) -> Activity:
    """asked: the method and what is given, as in the request's body.

    Missing for an unknown series, ActivityRefused for inputs that make no sense, HttpError 409
    where the liver's volume is neither given nor known.
    """
    series = orthanc.series(series_id)
    method = method_named(asked.get("Method"))
    inputs = read_inputs({name: value for name, value in asked.items() if name != "Method"})
    warnings: tuple[str, ...] = ()
    if "LiverMl" not in inputs:
        inputs["LiverMl"], warnings = _segmented_liver(orthanc, ledger, series)
    absent = [name for name in _DICOM_TAGS if name in method.needs and name not in inputs]
    inputs |= _from_dicom(orthanc, series, absent)
    return compute_activity(asked["Method"], inputs, warnings)


def _segmented_liver(
    orthanc: Orthanc, ledger: Ledger, series: Series
) -> tuple[Input, tuple[str, ...]]:
    """The volume that the last job found, unless that job's result no longer stands."""
    record = ledger.read_record(series.id)
    if record is None:
        raise _conflict("the series has not been segmented")
    job = record.job
    if job.outcome is not Outcome.SEGMENTED or job.result is None:
        raise _conflict(f"the series' last job came to no liver volume ({job.outcome})")
    if job.source_key != series.source_key:
        raise _conflict("the series' instances are not those that were segmented")
    if not orthanc.has_instance(job.result["Instance"]):
        raise _conflict("the RTSTRUCT of the segmentation is no longer in Orthanc")
    return read_report(job.report, f"segmentation, job {job.id}")


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
