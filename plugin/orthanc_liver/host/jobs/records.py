"""What is written in Orthanc, which is the only database, and under which numbers.

On a series:         metadata 4501     the job that ended last, the RTSTRUCT stored last
                     metadata 4503     deliveries that ended
                     metadata 4505     what people decided of its results
                     attachment 4502   the preview picture
On a result:         metadata 4504     the UID of the result that took its place, or that its
                                       slices are no longer the same or not in its study; never
                                       read
For the whole server, global properties:
                     4501              the place in Orthanc's change log, the jobs that are not
                                       finished, and on which series to find those that are
                     4502              deliveries under way
                     4503, 4504        the backfill: its studies, and how far it is
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.errors import NotOurs, StateUnreadable
from orthanc_liver.host.intake.place import Place
from orthanc_liver.host.jobs.job import UNFINISHED, Job
from orthanc_liver.host.jobs.stored_form import (
    Fields,
    document,
    opened,
    opened_list,
    read_delivery,
    read_job,
    read_place,
    read_resource,
    read_result,
    read_review,
    stored_delivery,
    stored_job,
    stored_place,
)
from orthanc_liver.host.review.review import Review
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.identifiers import RESOURCE
from orthanc_liver.host.server.untrusted_json import parse_clients_json

_RECORD_METADATA = 4501
_DELIVERIES_METADATA = 4503
_SUPERSEDED_METADATA = 4504
_REVIEWS_METADATA = 4505
_PREVIEW_ATTACHMENT = 4502
_STATE_PROPERTY = 4501
_DELIVERIES_PROPERTY = 4502
_STUDIES_PROPERTY = 4503
_PLACE_PROPERTY = 4504

_OUTDATED = {"Outdated": "its series has changed since"}
_DELIVERIES_PER_SERIES = 20
_REVIEWS_PER_SERIES = 20
_MAX_NOTE_BYTES = 1_000_000
# Three planes of 2 m at 1 mm are 6 megapixels.
_MAX_PICTURE_BYTES = 16_000_000
_MAX_PICTURE_PIXELS = 32_000_000
_PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_SIZES = slice(16, 24)

# What the same instances and model would only come to again.
_SETTLED = frozenset({Outcome.SEGMENTED, Outcome.NO_LIVER, Outcome.REFUSED})

Found = TypeVar("Found")


@dataclass(frozen=True)
class Record:
    """What a series says of its last job and of its last result."""

    job: Job
    result: dict[str, Any] | None

    def settles(self, source_key: str, model_sha256: str) -> bool:
        """Whether running these instances through this model again could bring nothing new."""
        return (
            self.job.outcome in _SETTLED
            and self.job.source_key == source_key
            and self.job.model is not None
            and self.job.model["Sha256"] == model_sha256
        )


@dataclass
class ServerState:
    """What must outlive a restart. Orthanc's change log is done with up to seq.

    unfinished: also the finished jobs that could not be noted on their series.
    """

    seq: int
    unfinished: list[Job] = field(default_factory=list)
    finished: list[Job] = field(default_factory=list)


class Ledger:
    """Reads and writes jobs and deliveries. What cannot be written (a full disk) is logged, not
    raised: the jobs in memory go on, and whoever called hears that it must be written again."""

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._told: set[str] = set()  # notes of others that the log has told of

    def read_state(self, at_first: int) -> ServerState:
        """What the server kept; at the very first start, nothing, and the log is at at_first.

        Raises StateUnreadable where what is kept is not ours, and then leaves it as it is.
        """
        kept = _read_property(self._orthanc, _STATE_PROPERTY, "list of jobs", _read_state)
        if kept is None:
            return ServerState(at_first)
        seq, unfinished, finished = kept
        state = ServerState(at_first if seq is None else seq)
        places = {**finished, **{job.id: job.series for job in unfinished}}
        for job_id, series_id in places.items():
            record = self.read_record(series_id)
            if record and record.job.id == job_id:
                state.finished.append(record.job)
        ended = {job.id for job in state.finished}
        # Orthanc may have been killed after a job was noted on its series and before it was here.
        state.unfinished = [job for job in unfinished if job.id not in ended]
        return state

    def keep(self, state: ServerState) -> bool:
        """Replace what the server keeps; False where that was not possible."""
        text = document(
            Seq=state.seq,
            Unfinished=[stored_job(job) for job in state.unfinished],
            Finished={job.id: job.series for job in state.finished},
        )
        try:
            self._orthanc.set_property(_STATE_PROPERTY, text)
        except OrthancError as error:
            self._orthanc.log_error(f"the list of jobs could not be kept: {error}")
            return False
        return True

    def read_record(self, series_id: str) -> Record | None:
        """What a series says of its last job, None where it says nothing."""

        def read(kept: Any) -> Record:
            fields = opened(kept, "Job")
            job = _ended(read_job(fields.all.get("Job")), series_id)
            if job.study != self._orthanc.get(f"/series/{series_id}")["ParentStudy"]:
                raise NotOurs("it names another study")
            return Record(job, fields.given("Result", read_result))

        return self._read_note(series_id, _RECORD_METADATA, read)

    def record(self, job: Job) -> bool:
        """Leave a finished job on its series; an earlier result stays unless there is a new one.

        False where that was not possible.
        """
        try:
            if job.result:
                source = {"SourceKey": job.source_key, "FilesKey": job.files_key}
                made = {"Job": job.id, "Model": job.model}
                result: dict[str, Any] | None = {**job.result, **source, **made}
            else:
                before = self.read_record(job.series)
                result = before.result if before else None
            text = document(Job=stored_job(job), Result=result)
            self._write_note(job.series, _RECORD_METADATA, text)
        except OrthancError as error:
            self._orthanc.log_error(f"job {job.id} could not be noted on its series: {error}")
            return False
        return True

    def read_deliveries(self) -> list[Delivery]:
        """Those that were under way; StateUnreadable where what is kept is not ours."""
        number = _DELIVERIES_PROPERTY
        return _read_property(self._orthanc, number, "deliveries", _read_deliveries) or []

    def keep_deliveries(self, under_way: Iterable[Delivery]) -> None:
        """Replace the list of those under way."""
        text = document(Deliveries=[stored_delivery(one) for one in under_way])
        try:
            self._orthanc.set_property(_DELIVERIES_PROPERTY, text)
        except OrthancError as error:
            self._orthanc.log_error(f"the list of deliveries could not be kept: {error}")

    def read_ended_deliveries(self, series_id: str) -> list[Delivery]:
        """What a series says of deliveries that ended."""

        def read(kept: Any) -> list[Delivery]:
            return [_ended(one, series_id) for one in _read_deliveries(kept)]

        return self._read_note(series_id, _DELIVERIES_METADATA, read) or []

    def record_delivery(self, one: Delivery) -> None:
        """Leave a delivery that ended on its series, which forgets the oldest."""
        try:
            ended = [*self.read_ended_deliveries(one.series), one][-_DELIVERIES_PER_SERIES:]
            text = document(Deliveries=[stored_delivery(each) for each in ended])
            self._write_note(one.series, _DELIVERIES_METADATA, text)
        except OrthancError as error:
            self._orthanc.log_error(f"delivery {one.id} could not be noted: {error}")

    def read_reviews(self, series_id: str) -> list[Review]:
        """What people decided of a series' results, oldest first."""

        def read(kept: Any) -> list[Review]:
            reviews = opened_list(kept, "Reviews", read_review)
            if any(one.series != series_id for one in reviews):
                raise NotOurs("it names another series")
            return reviews

        return self._read_note(series_id, _REVIEWS_METADATA, read) or []

    def record_review(self, one: Review) -> None:
        """Leave a review on its series, which forgets the oldest; OrthancError where that fails."""
        reviews = [*self.read_reviews(one.series), one][-_REVIEWS_PER_SERIES:]
        text = document(Reviews=[each.as_json() for each in reviews])
        self._write_note(one.series, _REVIEWS_METADATA, text)

    def _read_note(self, series_id: str, number: int, read: Callable[[Any], Found]) -> Found | None:
        """What a series says; None where it says nothing, or nothing of ours.

        Any client of Orthanc may have written it. Ours will take its place.
        """
        path = f"/series/{series_id}/metadata/{number}"
        try:
            return read(_parsed_note(self._orthanc.get_bytes(path)))
        except Missing:
            return None
        except NotOurs as error:
            if path not in self._told:
                self._told.add(path)
                self._orthanc.log_error(f"metadata {number} of {series_id} is not ours: {error}")
            return None

    def _write_note(self, series_id: str, number: int, text: str) -> None:
        path = f"/series/{series_id}/metadata/{number}"
        with contextlib.suppress(Missing):  # the series is gone, and its notes with it
            self._orthanc.put(path, text.encode())
        self._told.discard(path)


def read_backfill(orthanc: Orthanc) -> tuple[Place, list[str]] | None:
    """How far the last backfill is, and its studies; StateUnreadable where that is not ours."""

    def read_studies(kept: Any) -> list[str]:
        return opened_list(kept, "Studies", read_resource)

    place = _read_property(
        orthanc, _PLACE_PROPERTY, "backfill", lambda kept: read_place(opened(kept, "created"))
    )
    studies = _read_property(orthanc, _STUDIES_PROPERTY, "backfill", read_studies)
    return (place, studies or []) if place else None


def keep_studies(orthanc: Orthanc, studies: Sequence[str]) -> None:
    """Replace the studies of the backfill."""
    orthanc.set_property(_STUDIES_PROPERTY, document(Studies=studies))


def keep_place(orthanc: Orthanc, place: Place) -> None:
    """Replace how far the backfill is."""
    orthanc.set_property(_PLACE_PROPERTY, document(**stored_place(place)))


def mark_superseded(orthanc: Orthanc, instance: str, by: str) -> None:
    """Note on a result the UID of the one that took its place; Missing where it is gone."""
    _mark(orthanc, instance, {"SupersededBy": by})


def mark_elsewhere(orthanc: Orthanc, instance: str) -> None:
    """Note on a result that it belongs to slices which its study does not hold."""
    _mark(orthanc, instance, {"Elsewhere": "its slices are not in this study"})


def mark_outdated(orthanc: Orthanc, instance: str) -> None:
    """Note on a result that its slices changed, and nothing took its place."""
    _mark(orthanc, instance, _OUTDATED)


def unmark_outdated(orthanc: Orthanc, instance: str) -> None:
    """The series is again what this result was made of; any other note stays."""
    path = f"/instances/{instance}/metadata/{_SUPERSEDED_METADATA}"
    with contextlib.suppress(Missing):
        if orthanc.get_bytes(path) == json.dumps(_OUTDATED).encode():
            orthanc.delete(path)


def _mark(orthanc: Orthanc, instance: str, note: dict[str, str]) -> None:
    path = f"/instances/{instance}/metadata/{_SUPERSEDED_METADATA}"
    orthanc.put(path, json.dumps(note).encode())


def unmark_superseded(orthanc: Orthanc, instance: str) -> None:
    """This result stands."""
    with contextlib.suppress(Missing):
        orthanc.delete(f"/instances/{instance}/metadata/{_SUPERSEDED_METADATA}")


def write_preview(orthanc: Orthanc, series_id: str, png: bytes) -> None:
    """Leave the picture on the series."""
    orthanc.put(f"/series/{series_id}/attachments/{_PREVIEW_ATTACHMENT}", png)


def read_preview(orthanc: Orthanc, series_id: str) -> bytes:
    """The picture of the series, a PNG; Missing where there is none, NotOurs for anything else."""
    path = f"/series/{series_id}/attachments/{_PREVIEW_ATTACHMENT}"
    size_bytes = int(orthanc.get_bytes(f"{path}/size"))
    png = orthanc.get_bytes(f"{path}/data") if size_bytes <= _MAX_PICTURE_BYTES else b""
    if not png.startswith(_PNG_HEAD) or len(png) < _PNG_SIZES.stop:
        raise NotOurs(f"attachment {_PREVIEW_ATTACHMENT} of the series is no picture of ours")
    width, height = struct.unpack(">II", png[_PNG_SIZES])
    if width * height > _MAX_PICTURE_PIXELS:
        raise NotOurs(f"attachment {_PREVIEW_ATTACHMENT} of the series is too large a picture")
    return png


Ended = TypeVar("Ended", Job, Delivery)


def _ended(one: Ended, series_id: str) -> Ended:
    """What may stand on a series: only what is over, and only of that series."""
    if one.series != series_id:
        raise NotOurs("it names another series")
    if one.state in UNFINISHED:
        raise NotOurs("State is not that of what has ended")
    one.completed = one.completed or one.created
    return one


def _read_state(kept: Any) -> tuple[int | None, list[Job], dict[str, str]]:
    fields = opened(kept, "Unfinished")
    unfinished = fields.list_of("Unfinished", read_job)
    finished = fields.given("Finished", lambda places: Fields(places).all) or {}
    seq = fields.number("Seq") if "Seq" in fields.all else None
    # 0.1.0 believed what anybody had written on a series, and kept it.
    places = {
        job_id: series
        for job_id, series in finished.items()
        if isinstance(series, str) and re.fullmatch(RESOURCE, series)
    }
    return seq, unfinished, places


def _read_deliveries(kept: Any) -> list[Delivery]:
    return opened_list(kept, "Deliveries", read_delivery)


def _read_property(
    orthanc: Orthanc, number: int, what: str, read: Callable[[Any], Found]
) -> Found | None:
    text = orthanc.property(number)
    try:
        return read(json.loads(text)) if text else None
    except (NotOurs, ValueError) as error:
        why = error if isinstance(error, NotOurs) else "it is not JSON"
        raise StateUnreadable(
            f"Orthanc's global property {number} does not hold orthanc-liver's {what}: {why}"
        ) from error


def _parsed_note(text: bytes) -> Any:
    if len(text) > _MAX_NOTE_BYTES:
        raise NotOurs("it is too long")
    try:
        parsed = parse_clients_json(text)
        json.dumps(parsed, allow_nan=False)  # NaN and 1e999 would make the API's answer no JSON
    except ValueError:
        raise NotOurs("it is not JSON") from None
    return parsed
