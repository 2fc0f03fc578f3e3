"""The Y-90 activity of a series in Orthanc: what was not given is looked up there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from orthanc_liver.engine.protocol import LOOK_HERE, Kind, Outcome, with_needs
from orthanc_liver.host.activity.documents import Documents, store_documents
from orthanc_liver.host.activity.our_outline import REJECTED, doubts_about_ours, judged
from orthanc_liver.host.activity.roi_of_series import (
    Roi,
    outline_of,
    roi_named,
    rois_of,
    rois_on,
)
from orthanc_liver.host.errors import NoResult
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Ledger, Record
from orthanc_liver.host.jobs.source import is_source
from orthanc_liver.host.review.approval import find_approved
from orthanc_liver.host.review.clearance import Clearances
from orthanc_liver.host.review.review import Review
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
# How far what was given may lie from what the CT says; patients lose weight after it.
_ALIKE = {"HeightM": 0.05, "WeightKg": 0.2}
# Of an RTSTRUCT that is stored.
_DOCUMENTS = tuple(kind for kind in Kind if kind is not Kind.RTSTRUCT)


def activity_of_series(
    orthanc: Orthanc,
    ledger: Ledger,
    clearances: Clearances,
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
    record = ledger.read_record(series.id)
    reviews = clearances.decided(series.id, ledger.read_reviews(series.id))
    chosen = {one.rtstruct for one in outlines.values()}
    warnings = doubts_about_ours(orthanc, record, reviews, chosen)
    if "LiverMl" not in {**given, **outlines}:
        outlines["LiverMl"], further = _segmented_liver(
            record,
            reviews,
            orthanc,
            series,
            [asked[roi] for roi in ROIS if roi in asked],
        )
        warnings = tuple(dict.fromkeys((*warnings, *further)))
    outlined, told = _measured(outlines, asked)
    inputs = given | outlined
    if _is_said(asked, _LUNGS):
        inputs |= _measured_lungs(record, orthanc, series, given)
    needed = [name for name in DICOM_TAGS if name in method.needs]
    patient, doubts = _from_dicom(orthanc, series, needed, given)
    inputs |= patient
    choices = read_choices({name: asked[name] for name in CHOICES if name in asked})
    limits = limits_of_site(settings.dose_limits_gy, "setting DoseLimitsGy")
    return compute_activity(
        asked["Method"],
        inputs,
        (*warnings, *told, *doubts),
        choices,
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
    """Store the activity as an SR, which refers to the SEG of the segmentation, or as a PDF.

    kinds: what an object refers to comes with it. NoResult where no segmentation stands.
    """
    series = image_series(orthanc, orthanc.series(series_id))
    job = _standing_job(ledger.read_record(series_id), orthanc, series)
    wanted = Documents(job, with_needs(kinds), activity)
    return store_documents(orthanc, series, settings, wanted)


def documents_asked(asked: Mapping[str, Any]) -> list[str]:
    """What the request's Store names; ActivityRefused for anything else."""
    kinds = asked.get("Store", [])
    if not isinstance(kinds, list) or any(kind not in _DOCUMENTS for kind in kinds):
        raise ActivityRefused(f"Store must be a list of {', '.join(_DOCUMENTS)}")
    return kinds


def _given(asked: Mapping[str, Any]) -> Inputs:
    others = {"Method", "Store", "Rtstruct", _OUTSIDE, _TABLE, _LUNGS, *ROIS, *CHOICES}
    return read_inputs({name: value for name, value in asked.items() if name not in others})


@dataclass(frozen=True)
class _Outlined:
    """An outline, the origin of its volume, and Orthanc's id of the RTSTRUCT."""

    outline: Outline
    origin: str
    rtstruct: str


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
    return _Outlined(outline_of(orthanc, series, roi), origin, roi.instance)


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
    record: Record | None,
    reviews: Sequence[Review],
    orthanc: Orthanc,
    series: Series,
    named: Collection[str],
) -> tuple[_Outlined, tuple[str, ...]]:
    """The liver that the last job outlined, or its newest approved correction by others.

    reviews: of that job's outline, of which the approved copies are no corrections; named: the
    ROIs that the request asks for.
    """
    job = _standing_job(record, orthanc, series)
    rois = [roi for roi in rois_of(orthanc, job.rtstruct) if roi.name != LOOK_HERE]
    if len(rois) != 1:
        raise _no_result("the RTSTRUCT of the segmentation does not hold one outline")
    own = {job.rtstruct, *(find_approved(orthanc, one, series.study) for one in reviews)}
    if isinstance(former := (job.result or {}).get("Supersedes"), str):
        own |= set(orthanc.instances_with(former))
    others = [roi for roi in rois_on(orthanc, series, rois[0].frame) if roi.instance not in own]
    others.sort(key=lambda roi: roi.drawn_at)
    name = rois[0].name.casefold()
    found = _corrected(rois[0], [roi for roi in others if roi.name.casefold() == name])
    if found is not None:
        return _read(orthanc, series, found, found.words), ()
    if REJECTED in judged(job, reviews):
        raise NoResult(f"{REJECTED}, or choose another by LiverRoi")
    ours = _read(orthanc, series, rois[0], f"segmentation, job {job.id}, {rois[0].words}")
    told, warnings = read_report(job.report, "segmentation")
    if not agree(told.value, ours.outline.volume_ml):
        raise _no_result(
            "the volume in the series' metadata is not that of the RTSTRUCT's contours: one of "
            "them was changed"
        )
    alike = [roi for roi in others if name in roi.name.casefold() and roi.name not in named]
    return ours, (*warnings, *judged(job, reviews), *_of_other_names(rois[0], alike))


def _corrected(ours: Roi, others: Sequence[Roi]) -> Roi | None:
    """The newest approved one of the others, which bear the name of ours; NoResult where a person
    must choose."""
    approved = [roi for roi in others if roi.is_approved]
    newest = approved[-1:]
    rivals = [roi for roi in approved[:-1] if not roi.is_certainly_older_than(approved[-1])] or [
        roi for roi in others if not approved and not roi.is_certainly_older_than(ours)
    ]
    if not rivals:
        return newest[0] if newest else None
    why = (
        "several approved outlines of the liver may be the newest"
        if newest
        else "the liver was outlined again after the segmentation, and nobody approved that"
    )
    choice = "; ".join(roi.choice for roi in (ours, *rivals, *newest))
    raise _no_result(f"{why}: choose by LiverRoi and Rtstruct: {choice}")


def _of_other_names(ours: Roi, alike: Sequence[Roi]) -> tuple[str, ...]:
    """A correction may have been given a name of its own."""
    later = [roi for roi in alike if roi.is_approved or not roi.is_certainly_older_than(ours)]
    choice = "; ".join(roi.choice for roi in later)
    if not later:
        return ()
    return (
        "the volume is that of our own outline, and the study holds outlines of similar names on "
        f"this CT: if one is the corrected liver, choose it by LiverRoi and Rtstruct: {choice}",
    )


def _measured_lungs(
    record: Record | None, orthanc: Orthanc, series: Series, given: Inputs
) -> Inputs:
    if "LungMassKg" in given:
        raise ActivityRefused(f"give LungMassKg or {_LUNGS}, not both")
    job = _standing_job(record, orthanc, series)
    return {"LungMassKg": read_lungs(job.report, f"segmentation, job {job.id}")}


def _standing_job(record: Record | None, orthanc: Orthanc, series: Series) -> Job:
    if record is None:
        raise _no_result("the series has not been segmented")
    job = record.job
    if job.outcome is not Outcome.SEGMENTED or job.result is None:
        raise _no_result(f"the series' last job came to no liver volume ({job.outcome})")
    if not is_source(orthanc, job, series):
        raise _no_result("the series' instances are not those that were segmented")
    if not orthanc.has_instance(job.rtstruct):
        raise _no_result("the RTSTRUCT of the segmentation is no longer in Orthanc")
    return job


def _from_dicom(
    orthanc: Orthanc, series: Series, needed: Sequence[str], given: Inputs
) -> tuple[Inputs, list[str]]:
    """What the first instance says of the needed ones that are not given, and where it says
    something else of those that are; 0 and empty say nothing."""
    if not needed:
        return {}, []
    tags = orthanc.get(f"/instances/{series.instances[0]}/simplified-tags")
    found, doubts = {}, []
    for name in needed:
        text = str(tags.get(DICOM_TAGS[name], "")).strip()
        number = _number(text)
        if not text or number == 0:
            continue
        if name not in given:
            found[name] = read_input(name, number, f"DICOM {DICOM_TAGS[name]}")
        elif number is not None and not isclose(number, given[name].value, rel_tol=_ALIKE[name]):
            doubts.append(
                f"{name} as given is not what the CT says (DICOM {DICOM_TAGS[name]}): check the "
                "number, its unit and the patient"
            )
    return found, doubts


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _no_result(problem: str) -> NoResult:
    return NoResult(f"{problem}: {_OTHERWISE}")
