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
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from orthanc_liver.engine.protocol import GRADES, Outcome
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import Destination, Kind
from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.intake.place import Place, Stage
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.server.identifiers import DICOM_UID, JOB, RESOURCE
from orthanc_liver.host.server.times import text_of, time_of

VERSION = 1
_LARGEST = 2**31
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
    report = Fields(kept)
    if type(report.all.get("liver_ml")) not in (int, float, type(None)):
        raise NotOurs("liver_ml is not a number")
    report.list_of("warnings", _read_sentence)
    report.given("no_liver", lambda why: Fields(why).text("reason", "(?s:.+)"))
    report.given("lungs", lambda lungs: Fields(lungs).text("reason"))
    report.text("grade", "|".join(("", *GRADES)))
    report.list_of("look_at", _read_region)
    return report.all


def _read_region(kept: Any) -> tuple[int, int]:
    """Slices of the CT to look at, counted from 1."""
    slices = Fields(kept).list_of("slices", lambda one: Fields({"slice": one}).number("slice", 1))
    if len(slices) != 2 or slices[0] > slices[1]:
        raise NotOurs("slices are not a first and a last one")
    return slices[0], slices[1]


def _read_sentence(kept: Any) -> str:
    return Fields({"a warning": kept}).text("a warning", "(?s:.+)")


def stored_delivery(one: Delivery) -> dict[str, Any]:
    """The delivery as it is kept."""
    return {
        "ID": one.id,
        "Job": one.job,
        "Series": one.series,
        "Instances": list(one.instances),
        "Destination": {str(one.destination.kind): one.destination.name},
        "State": str(one.state),
        "Attempts": one.attempts,
        "Reason": one.reason,
        "OrthancJob": one.orthanc_job,
        "TimesUnknown": one.times_unknown,
        "Held": one.is_held,
        "CreationTime": text_of(one.created),
        "CompletionTime": text_of(one.completed) if one.completed else None,
    }


def read_delivery(kept: Any) -> Delivery:
    """The delivery that stored_delivery, or 0.1.0, wrote."""
    one = Fields(kept)
    return Delivery(
        job=one.text("Job", JOB),
        series=one.text("Series", RESOURCE),
        instances=tuple(one.list_of("Instances", read_resource)),
        destination=_read_destination(one.all.get("Destination")),
        id=one.text("ID", JOB),
        created=one.time("CreationTime") or datetime.now(UTC),
        state=one.choice("State", State.PENDING),
        attempts=one.number("Attempts"),
        reason=one.text("Reason"),
        completed=one.time("CompletionTime"),
        orthanc_job=one.text("OrthancJob", f"(?:{JOB})?"),
        times_unknown=one.number("TimesUnknown"),
        is_held=one.flag("Held"),
    )


def _read_destination(kept: Any) -> Destination:
    named = Fields(kept)
    kinds = [kind for kind in Kind if kind in named.all]
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
