"""The form in which jobs, deliveries and the backfill are kept; the API's JSON is another thing.

Every document has a "Version". What a document lacks gets its default, so that another field needs
no new version; only a newer version is refused. 0.1.0 wrote no version, jobs as the API's JSON
and lists without an object around them: that is still read.

Metadata may be written by any client of Orthanc, so types, identifiers and numbers are checked one
by one, and NotOurs says which of them is wrong, without its value.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from orthanc_liver.engine.protocol import GRADES, Agreement, Kind, Outcome, check_report
from orthanc_liver.host.delivery.delivery import Arrival, Delivery
from orthanc_liver.host.delivery.destinations import Destination, DestinationKind
from orthanc_liver.host.errors import CutAskedBadly, NotOurs
from orthanc_liver.host.intake.place import Place, Stage
from orthanc_liver.host.intake.remote_study import Failed, Key, Wanted, Way
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.quality.chart import Limits
from orthanc_liver.host.quality.comparison import Comparison, ModelLimits, Returned
from orthanc_liver.host.review.clearance import Clearance
from orthanc_liver.host.review.cut import StoredCut, cut_asked
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.server.times import text_of, time_of
from orthanc_liver.identifiers import DICOM_UID, JOB, MD5, RESOURCE, SHA256

VERSION = 1
_LARGEST = 2**31
_LEAST_NUMBERS = 6  # of three corners
# In the order in which they were made.
_KINDS_OF_0_1_0 = ["RTSTRUCT", "SEG", "SR"]
_TIME = "[12][0-9]{7}T[0-9]{6}[.][0-9]{6}"

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=StrEnum)


class Fields:
    """A JSON object, read key by key; what it lacks is the default, what does not fit NotOurs."""

    def __init__(self, kept: Any) -> None:
        if not isinstance(kept, dict):
            raise NotOurs("it is not a JSON object where it should be one")
        self.all: dict[str, Any] = kept

    def text(self, key: str, pattern: str = "(?s:.*)", default: str = "") -> str:
        """A text that the pattern fits; so one that does not fit "" must be there."""
        text = self._get(key, str, default)
        if not re.fullmatch(pattern, text):
            raise NotOurs(f"{key} is missing or not what it should be")
        return text

    def choice(self, key: str, default: Choice) -> Choice:
        """One of the texts of the default's own kind."""
        try:
            return type(default)(self.text(key, default=default))
        except ValueError:
            raise NotOurs(f"{key} is none of those that there are") from None

    def number(self, key: str, low: int = 0, high: int = _LARGEST, default: int = 0) -> int:
        """An integer between low and high, both included."""
        number = self._get(key, int, default)
        if not low <= number <= high:
            raise NotOurs(f"{key} is out of its range")
        return number

    def real(self, key: str, low: float, high: float) -> float:
        """A number between low and high, which must be there."""
        number: Any = self.all.get(key)
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if is_number and low <= number <= high:
            return float(number)
        raise NotOurs(f"{key} is no number in its range")

    def flag(self, key: str) -> bool:
        """True or false; false where it is missing."""
        return self._get(key, bool, False)

    def time(self, key: str) -> datetime | None:
        """A UTC time."""
        text = self.text(key, f"(?:{_TIME})?")
        try:
            return time_of(text) if text else None
        except ValueError:
            raise NotOurs(f"{key} is not a time") from None

    def list_of(self, key: str, read: Callable[[Any], Value]) -> list[Value]:
        """Every item of a list, read."""
        return [read(item) for item in self._get(key, list, [])]

    def given(self, key: str, read: Callable[[Any], Value]) -> Value | None:
        """What is there, read; None where nothing is."""
        value = self.all.get(key)
        return None if value is None else read(value)

    def _get(self, key: str, kind: type[Value], default: Value) -> Value:
        value = self.all.get(key)
        if value is None:
            return default
        if type(value) is not kind:  # JSON's true is no number
            raise NotOurs(f"{key} is of another type than it should be")
        return value


def document(**content: Any) -> str:
    """What is kept in Orthanc, as text."""
    return json.dumps({"Version": VERSION, **content})


def opened(kept: Any, key: str) -> Fields:
    """A document's fields; key: by which those of 0.1.0, without a version, are known."""
    fields = Fields(kept)
    if not {"Version", key} & set(fields.all):
        raise NotOurs("another program wrote it")
    version = fields.number("Version", default=VERSION)
    if version > VERSION:
        raise NotOurs(
            f"a newer orthanc-liver wrote it, in form {version}, and this one reads form "
            f"{VERSION}: install the newer one again"
        )
    return fields


def opened_list(kept: Any, key: str, read: Callable[[Any], Value]) -> list[Value]:
    """The list in a document, read; 0.1.0 wrote it without an object around it."""
    return opened({key: kept} if isinstance(kept, list) else kept, key).list_of(key, read)


def stored_job(job: Job) -> dict[str, Any]:
    """The job as it is kept."""
    return {
        "ID": job.id,
        "Series": job.series,
        "Study": job.study,
        "SourceKey": job.source_key,
        "SourceUpdated": text_of(job.source_updated) if job.source_updated else None,
        "FilesKey": job.files_key,
        "Force": job.force,
        "Priority": job.priority,
        "CreationTime": text_of(job.created),
        "State": str(job.state),
        "StartTime": text_of(job.started) if job.started else None,
        "CompletionTime": text_of(job.completed) if job.completed else None,
        "Attempt": job.attempt,
        "Progress": job.progress_percent,
        "Outcome": str(job.outcome or ""),
        "Reason": job.reason,
        "Model": job.model,
        "Result": job.result,
        "Report": job.report,
        "IntendedUids": job.intended_uids,
    }


def read_job(kept: Any) -> Job:
    """The job that stored_job, or 0.1.0, wrote."""
    # In 0.1.0 half of it was in "Content", as the API shows it.
    whole = Fields(kept)
    job = Fields(whole.all | Fields(whole.all.get("Content", {})).all)
    return Job(
        id=job.text("ID", JOB),
        series=job.text("Series", RESOURCE),
        study=job.text("Study", RESOURCE),
        source_key=job.text("SourceKey"),
        source_updated=job.time("SourceUpdated"),
        files_key=job.text("FilesKey"),
        force=job.flag("Force"),
        priority=job.number("Priority", low=-_LARGEST),
        created=job.time("CreationTime") or datetime.now(UTC),
        state=job.choice("State", State.PENDING),
        started=job.time("StartTime"),
        completed=job.time("CompletionTime"),
        attempt=job.number("Attempt"),
        progress_percent=job.number("Progress", high=100),
        outcome=job.choice("Outcome", Outcome.FAILED) if job.all.get("Outcome") else None,
        reason=job.text("Reason"),
        model=job.given("Model", _read_model),
        result=job.given("Result", read_result),
        report=job.given("Report", _read_report),
        intended_uids=job.list_of("IntendedUids", _read_uid),
    )


def _read_uid(kept: Any) -> str:
    return Fields({"a UID": kept}).text("a UID", DICOM_UID)


def read_result(kept: Any) -> dict[str, Any]:
    """What a job stored: the RTSTRUCT and, as "Further", the other objects."""
    result = Fields(kept)
    _read_object(result.all)
    result.list_of("Further", _read_object)
    result.text("Supersedes", f"(?:{DICOM_UID})?")
    result.given("Model", _read_model)
    return result.all


def _read_object(kept: Any) -> None:
    stored = Fields(kept)
    stored.text("Instance", RESOURCE)
    stored.text("SopInstanceUid", DICOM_UID)


def _read_model(kept: Any) -> dict[str, str]:
    model = Fields(kept)
    return {"Name": model.text("Name"), "Sha256": model.text("Sha256")}


def _read_report(kept: Any) -> dict[str, Any]:
    report = Fields(kept).all
    try:
        check_report(report)
    except Exception:  # noqa: BLE001 whatever the check stumbles over
        raise NotOurs("Report is not what a job reports") from None
    return report


def read_contours(kept: Any) -> dict[str, Any]:
    """By slice from 0, lists of column, row, column, row ... in parts of a pixel."""
    told = Fields(kept)
    told.text("Job", JOB)
    told.number("PartsOfPixel", low=1)
    for number, contours in Fields(told.all.get("Slices")).all.items():
        if not number.isdecimal() or type(contours) is not list:
            raise NotOurs("Slices does not hold contours by slice")
        for contour in contours:
            is_flat = type(contour) is list and all(type(one) is int for one in contour)
            if not is_flat or len(contour) < _LEAST_NUMBERS or len(contour) % 2:
                raise NotOurs("a contour is not a list of columns and rows")
    return told.all


def _read_sentence(kept: Any) -> str:
    return Fields({"a warning": kept}).text("a warning", "(?s:.+)")


def stored_delivery(one: Delivery) -> dict[str, Any]:
    """The delivery as it is kept."""
    return {
        "ID": one.id,
        "Job": one.job,
        "Series": one.series,
        "Outline": one.outline,
        "Kind": one.kind,
        "Instances": one.instances,
        "Destination": {str(one.destination.kind): one.destination.name},
        "State": str(one.state),
        "Attempts": one.attempts,
        "Reason": one.reason,
        "OrthancJob": one.orthanc_job,
        "TimesUnknown": one.times_unknown,
        "Held": one.is_held,
        "Arrival": str(one.arrival),
        "Transaction": one.transaction,
        "WithoutProof": one.is_without_proof,
        "CreationTime": text_of(one.created),
        "CompletionTime": text_of(one.completed) if one.completed else None,
    }


def read_deliveries(kept: Any) -> list[Delivery]:
    """What stored_delivery wrote; of 0.1.0, which kept a result's objects as one, one for each."""
    one = Fields(kept)
    instances = one.list_of("Instances", read_resource)
    if "Outline" in one.all or not instances:
        kind = one.text("Kind", "[A-Z]{0,16}")
        whole = [_read_delivery(one, instance, kind) for instance in instances[:1]]
        for delivery in whole:
            delivery.others = tuple(instances[1:])
        return whole
    first, *further = zip(instances, _KINDS_OF_0_1_0, strict=False)
    split = [_read_delivery(one, *first)]
    for instance, kind in further:
        part = _read_delivery(one, instance, kind)
        part.id = str(uuid.uuid5(uuid.UUID(part.id), instance))
        split.append(part)
    return split


def _read_delivery(one: Fields, instance: str, kind: str) -> Delivery:
    instances = one.list_of("Instances", read_resource)
    state = one.choice("State", State.PENDING)
    return Delivery(
        job=one.text("Job", JOB),
        series=one.text("Series", RESOURCE),
        outline=one.text("Outline", f"(?:{RESOURCE})?") or instances[0],
        instance=instance,
        kind=kind,
        destination=_read_destination(one.all.get("Destination")),
        id=one.text("ID", JOB),
        created=one.time("CreationTime") or datetime.now(UTC),
        state=state,
        attempts=one.number("Attempts"),
        reason=one.text("Reason"),
        completed=one.time("CompletionTime"),
        orthanc_job=one.text("OrthancJob", f"(?:{JOB})?"),
        times_unknown=one.number("TimesUnknown"),
        is_held=one.flag("Held"),
        arrival=one.choice("Arrival", Arrival.SENT if state is State.SUCCESS else Arrival.UNKNOWN),
        transaction=one.text("Transaction", f"(?:{DICOM_UID})?"),
        is_without_proof=one.flag("WithoutProof"),
    )


def _read_destination(kept: Any) -> Destination:
    named = Fields(kept)
    kinds = [kind for kind in DestinationKind if kind in named.all]
    if len(kinds) != 1:
        raise NotOurs("Destination does not name one destination")
    return Destination(kinds[0], named.text(kinds[0], "(?s:.+)"))


def read_review(kept: Any) -> Review:
    """The review that as_json of it shows; nothing of it has a default."""
    one = Fields(kept)
    time = one.time("Time")
    if time is None or "IsTyped" not in one.all:
        raise NotOurs("Time or IsTyped is missing")
    review = Review(
        series=one.text("Series", RESOURCE),
        job=one.text("Job", JOB),
        rtstruct=one.text("Rtstruct", RESOURCE),
        verdict=Verdict(one.text("Verdict", "|".join(Verdict))),
        reason=one.text("Reason"),
        by=one.text("By"),
        is_typed=one.flag("IsTyped"),
        time=time,
    )
    if review.problem:
        raise NotOurs(review.problem)
    return review


def read_cut(one: Fields) -> StoredCut:
    """The cut that as_json of it shows."""
    time = one.time("Time")
    if time is None:
        raise NotOurs("Time is missing")
    given = {name: one.all[name] for name in ("Plane", "Lassos") if one.all.get(name)}
    try:
        cut = cut_asked(given)
    except CutAskedBadly as error:
        raise NotOurs(str(error)) from error
    parts_ml = Fields(one.all.get("PartsMl"))
    return StoredCut(
        series=one.text("Series", RESOURCE),
        outline=one.text("Outline", DICOM_UID),
        cut=cut,
        by=one.text("By"),
        is_typed=one.flag("IsTyped"),
        time=time,
        parts_ml={name: parts_ml.real(name, 0, _LARGEST) for name in parts_ml.all},
        superseded_by=one.text("SupersededBy", f"(?:{DICOM_UID})?"),
    )


def stored_clearance(one: Clearance) -> dict[str, Any]:
    """The clearance as it is kept."""
    review = one.review.as_json() if one.review else None
    return {"Series": one.series, "Outline": one.outline, "Grade": one.grade, "Review": review}


def read_clearance(kept: Any) -> Clearance:
    """The clearance that stored_clearance wrote."""
    one = Fields(kept)
    return Clearance(
        series=one.text("Series", RESOURCE),
        outline=one.text("Outline", RESOURCE),
        grade=one.text("Grade", "|".join(("", *GRADES))),
        review=one.given("Review", read_review),
    )


def read_comparison(kept: Any) -> Comparison:
    """The comparison that as_json of it shows."""
    one = Fields(kept)
    time = one.time("Time")
    if time is None:
        raise NotOurs("Time is missing")
    found = Comparison(
        series=one.text("Series", RESOURCE),
        study=one.text("Study", RESOURCE),
        job=one.text("Job", JOB),
        ours=one.text("Ours", RESOURCE),
        model_name=one.text("Model"),
        model_sha256=one.text("Sha256", SHA256),
        grade=one.text("Grade", "|".join(("", *GRADES))),
        returned=Returned(
            instance=one.text("Instance", RESOURCE),
            sop_instance_uid=one.text("SopInstanceUid", DICOM_UID),
            md5=one.text("Md5", MD5),
            kind=one.text("Kind", f"{Kind.RTSTRUCT}|{Kind.SEG}"),
            roi=one.text("Roi"),
            approval=one.text("Approval"),
            drawn_at=one.text("DrawnAt"),
            stored_by=one.text("StoredBy"),
            origin=one.text("Origin"),
        ),
        time=time,
        is_shadow=one.flag("IsShadow"),
        agreement=None if one.all.get("Dsc") is None else _read_agreement(one),
        reason=one.text("Reason"),
    )
    if not found.agreement and not found.reason:
        raise NotOurs("Dsc and Reason are both missing")
    return found


def _read_agreement(one: Fields) -> Agreement:
    return Agreement(
        dsc=one.real("Dsc", 0, 1),
        mda_mm=None if one.all.get("MdaMm") is None else one.real("MdaMm", 0, _LARGEST),
        rv=one.real("Rv", 0, _LARGEST),
        ra=one.real("Ra", 0, _LARGEST),
        ours_ml=one.real("OursMl", 0, _LARGEST),
        theirs_ml=one.real("TheirsMl", 0, _LARGEST),
        worst_slice=one.number("WorstSlice", low=1),
        worst_ml=one.real("WorstMl", 0, _LARGEST),
        warnings=tuple(one.list_of("Warnings", _read_sentence)),
    )


def stored_limits(one: ModelLimits) -> dict[str, Any]:
    """The limits as they are kept."""
    until = text_of(one.until)
    return {"Sha256": one.model_sha256, "Until": until, **asdict(one.limits)}


def read_limits(kept: Any) -> ModelLimits:
    """The limits that stored_limits wrote."""
    one = Fields(kept)
    until = one.time("Until")
    if until is None:
        raise NotOurs("Until is missing")
    limits = Limits(one.real("mean", 0, 1), one.real("sd", 0, 1), one.number("cases", low=2))
    return ModelLimits(one.text("Sha256", SHA256), limits, until)


def read_resource(kept: Any) -> str:
    """An identifier of Orthanc's."""
    return Fields({"an identifier": kept}).text("an identifier", RESOURCE)


def stored_place(place: Place) -> Mapping[str, Any]:
    """How far a backfill is, as it is kept."""
    return asdict(place) | {"created": text_of(place.created)}


def read_place(kept: Fields) -> Place:
    """The place that stored_place, or 0.1.0, wrote."""
    return Place(
        created=kept.time("created") or datetime.now(UTC),
        stage=kept.choice("stage", Stage.RUNNING),
        done=kept.number("done"),
        submitted=kept.number("submitted"),
        skipped=kept.number("skipped"),
    )


def read_wanted(kept: Any) -> Wanted:
    """The study that as_json of it shows."""
    one = Fields(kept)
    ways = [way for way in Way if way in one.all]
    keys = [key for key in Key if key in one.all]
    if len(ways) != 1 or len(keys) != 1:
        raise NotOurs("a study is not named once, or its source is not")
    wanted = Wanted(ways[0], one.text(ways[0], "(?s:.+)"), keys[0], one.text(keys[0]))
    if wanted.problem:
        raise NotOurs(wanted.problem)
    return wanted


def read_failed(kept: Any) -> Failed:
    """The study that could not be had, as as_json of it shows."""
    return Failed(read_wanted(kept), Fields(kept).text("Reason"))


def stored_held(uid: str, count: int) -> Mapping[str, Any]:
    """How many instances of a study were here before it was fetched, as it is kept."""
    return {"StudyInstanceUID": uid, "Instances": count}


def read_held(kept: Any) -> tuple[str, int]:
    """The UID and count that stored_held wrote."""
    one = Fields(kept)
    return one.text("StudyInstanceUID", DICOM_UID), one.number("Instances")
