"""The Y-90 activity of a series in Orthanc: what was not given is looked up there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_liver.engine.protocol import DOUBTFUL, LOOK_HERE, Kind, Outcome, with_needs
from orthanc_liver.host.activity.documents import Documents, store_documents
from orthanc_liver.host.activity.roi_of_series import (
    Roi,
    others_of_that_name,
    outline_of,
    roi_named,
    rois_of,
)
from orthanc_liver.host.errors import NoResult
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Ledger, Record
from orthanc_liver.host.jobs.source import is_source
from orthanc_liver.host.review.approval import find_approved
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.host.server.image_series import image_series
from orthanc_liver.host.settings import Settings
from orthanc_liver.sirt.activity import Activity, compute_activity
from orthanc_liver.sirt.inputs import (
    CHOICES,
    ROIS,
    ActivityRefused,
    Inputs,
    read_choices,
    read_input,
    read_inputs,
    read_lungs,
    read_report,
)
from orthanc_liver.sirt.limits import limits_of_site
from orthanc_liver.sirt.methods import method_named
from orthanc_liver.sirt.roi_volume import Outline, agree, volumes_of

_OUTSIDE, _TABLE, _LUNGS = "OutsideIsMeant", "Table", "LungsFromCt"
_OTHERWISE = "segment the series (again), or give LiverMl"
DICOM_TAGS = {"HeightM": "PatientSize", "WeightKg": "PatientWeight"}
# Of an RTSTRUCT that is stored.
_DOCUMENTS = tuple(kind for kind in Kind if kind is not Kind.RTSTRUCT)


def activity_of_series(
    orthanc: Orthanc,
    ledger: Ledger,
    settings: Settings,
    series_id: str,
    asked: Mapping[str, Any],
) -> Activity:
    """asked: the method and what is given, as in the request's body.

    Missing for an unknown series, ActivityRefused for inputs that make no sense, NoResult
    where the liver's volume is neither given nor known.
    """
    series = image_series(orthanc, orthanc.series(series_id))
    method = method_named(asked.get("Method"))
    given = _given(asked)
    outlines = _outlined(orthanc, series, asked)
    warnings: tuple[str, ...] = ()
    if "LiverMl" not in {**given, **outlines}:
        outlines["LiverMl"], warnings = _segmented_liver(
            ledger.read_record(series.id), ledger.read_reviews(series.id), orthanc, series
        )
    outlined, told = _measured(outlines, asked)
    inputs = given | outlined
    if _is_said(asked, _LUNGS):
        inputs |= _measured_lungs(ledger.read_record(series.id), orthanc, series, given)
    absent = [name for name in DICOM_TAGS if name in method.needs and name not in inputs]
    inputs |= _from_dicom(orthanc, series, absent)
    chosen = read_choices({name: asked[name] for name in CHOICES if name in asked})
    limits = limits_of_site(settings.dose_limits_gy, "setting DoseLimitsGy")
    return compute_activity(
        asked["Method"],
        inputs,
        (*warnings, *told),
        chosen,
        limits,
        with_table=_is_said(asked, _TABLE),
    )


def store_activity(
    orthanc: Orthanc,
    ledger: Ledger,
    settings: Settings,
    series_id: str,
    kinds: Sequence[str],
    activity: Activity,
) -> list[dict[str, str]]:
    """Store the activity as an SR, which refers to the SEG of the series' segmentation.

    kinds: what an object refers to comes with it. NoResult where no segmentation stands.
    """
    series = image_series(orthanc, orthanc.series(series_id))
    job = _standing_job(ledger.read_record(series_id), orthanc, series)
    wanted = Documents(job, with_needs(kinds), activity.as_json())
    return store_documents(orthanc, series, settings, wanted)


def documents_asked(asked: Mapping[str, Any]) -> list[str]:
    """What the request's Store names; ActivityRefused for anything else."""
    kinds = asked.get("Store", [])
    if not isinstance(kinds, list) or any(kind not in _DOCUMENTS for kind in kinds):
        raise ActivityRefused(f"Store must be a list of {' and '.join(_DOCUMENTS)}")
    return kinds


def _given(asked: Mapping[str, Any]) -> Inputs:
    others = {"Method", "Store", "Rtstruct", _OUTSIDE, _TABLE, _LUNGS, *ROIS, *CHOICES}
    return read_inputs({name: value for name, value in asked.items() if name not in others})


@dataclass(frozen=True)
class _Outlined:
    """An outline, and the origin of its volume."""

    outline: Outline
    origin: str


def _outlined(orthanc: Orthanc, series: Series, asked: Mapping[str, Any]) -> dict[str, _Outlined]:
    """The ROIs that the request names, by the quantity that each is for."""
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
            roi = roi_named(orthanc, series, asked[key], rtstruct)
            found[quantity] = _read(orthanc, series, roi, roi.words)
        except ActivityRefused as refusal:
            raise ActivityRefused(f"{key}: {refusal}") from refusal
    if rtstruct is not None and not found:
        raise ActivityRefused(f"Rtstruct goes with one of: {', '.join(ROIS)}")
    return found


def _read(orthanc: Orthanc, series: Series, roi: Roi, words: str) -> _Outlined:
    origin = f"area of the ROI's contours x slice distance, {words}"
    return _Outlined(outline_of(orthanc, series, roi), origin)


def _measured(
    outlines: Mapping[str, _Outlined], asked: Mapping[str, Any]
) -> tuple[Inputs, list[str]]:
    volumes, warnings = volumes_of(
        {name: one.outline for name, one in outlines.items()},
        outside_is_meant=_is_said(asked, _OUTSIDE),
    )
    read = {name: read_input(name, ml, outlines[name].origin) for name, ml in volumes.items()}
    return read, warnings


def _is_said(asked: Mapping[str, Any], key: str) -> bool:
    said = asked.get(key, False)
    if not isinstance(said, bool):
        raise ActivityRefused(f"{key} must be true or false")
    return said


def _segmented_liver(
    record: Record | None, reviews: Sequence[Review], orthanc: Orthanc, series: Series
) -> tuple[_Outlined, tuple[str, ...]]:
    """The liver that the last job outlined, or its newest approved correction by others.

    reviews: of that job's outline, of which the approved copies are no corrections.
    """
    job = _standing_job(record, orthanc, series)
    outlined = rois_of(orthanc, (job.result or {})["Instance"])
    rois = [roi for roi in outlined if roi.name != LOOK_HERE]
    if len(rois) != 1:
        raise _no_result("the RTSTRUCT of the segmentation does not hold one outline")
    stored_anew = {find_approved(orthanc, one, series.study) for one in reviews}
    others = [
        roi
        for roi in others_of_that_name(orthanc, series, rois[0])
        if roi.instance not in stored_anew
    ]
    approved = [roi for roi in others if roi.is_approved]
    if approved:
        return _read(orthanc, series, approved[-1], approved[-1].words), ()
    newer = [roi for roi in others if not roi.drawn_at or roi.drawn_at > rois[0].drawn_at]
    if newer:
        choice = "; ".join(roi.words for roi in (rois[0], *newer))
        raise _no_result(
            "the liver was outlined again after the segmentation, and nobody approved that: "
            f"choose by LiverRoi and Rtstruct: {choice}"
        )
    ours = _read(orthanc, series, rois[0], f"segmentation, job {job.id}, {rois[0].words}")
    told, warnings = read_report(job.report, "segmentation")
    if not agree(told.value, ours.outline.volume_ml):
        raise _no_result(
            "the volume in the series' metadata is not that of the RTSTRUCT's contours: one of "
            "them was changed"
        )
    return ours, (*warnings, *_unaccepted(job, reviews))


def _measured_lungs(
    record: Record | None, orthanc: Orthanc, series: Series, given: Inputs
) -> Inputs:
    if "LungMassKg" in given:
        raise ActivityRefused(f"give LungMassKg or {_LUNGS}, not both")
    job = _standing_job(record, orthanc, series)
    return {"LungMassKg": read_lungs(job.report, f"segmentation, job {job.id}")}


def _unaccepted(job: Job, reviews: Sequence[Review]) -> tuple[str, ...]:
    """A doubtful outline is told of as such until somebody has accepted it."""
    accepted = [one.rtstruct for one in reviews[-1:] if one.verdict is Verdict.ACCEPTED]
    if job.grade != DOUBTFUL or (job.result or {})["Instance"] in accepted:
        return ()
    return ("the outline is doubtful and nobody has accepted it: judge it on the review page",)


def _standing_job(record: Record | None, orthanc: Orthanc, series: Series) -> Job:
    if record is None:
        raise _no_result("the series has not been segmented")
    job = record.job
    if job.outcome is not Outcome.SEGMENTED or job.result is None:
        raise _no_result(f"the series' last job came to no liver volume ({job.outcome})")
    if not is_source(orthanc, job, series):
        raise _no_result("the series' instances are not those that were segmented")
    if not orthanc.has_instance(job.result["Instance"]):
        raise _no_result("the RTSTRUCT of the segmentation is no longer in Orthanc")
    return job


def _from_dicom(orthanc: Orthanc, series: Series, absent: list[str]) -> Inputs:
    """What the first instance says of the absent ones; 0 and empty say nothing."""
    if not absent:
        return {}
    tags = orthanc.get(f"/instances/{series.instances[0]}/simplified-tags")
    found = {}
    for name in absent:
        text = str(tags.get(DICOM_TAGS[name], "")).strip()
        number = _number(text)
        if text and number != 0:
            found[name] = read_input(name, number, f"DICOM {DICOM_TAGS[name]}")
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _no_result(problem: str) -> NoResult:
    return NoResult(f"{problem}: {_OTHERWISE}")
