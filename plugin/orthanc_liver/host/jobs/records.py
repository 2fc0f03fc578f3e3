"""What is written in Orthanc, which is the only database, and under which numbers.

On a series:         metadata 4501     the job that ended last, the RTSTRUCT stored last
                     metadata 4503     deliveries that ended
                     metadata 4505     what people decided of its results
                     metadata 4507     physicians' outlines of it, compared with ours
                     attachment 4502   the preview picture
                     attachment 4506   where the networks are unsure
On a result:         metadata 4504     the UID of the result that took its place, that its slices
                                       are no longer the same or not in its study, or that a
                                       person rejected it; for others to read, and for us only to
                                       take away the two about slices
On parts of a liver: metadata 4508     how a person cut them, and what took their place
For the whole server, global properties:
                     4501              the place in Orthanc's change log
                     4502              deliveries under way
                     4503, 4504        the backfill: its studies, and how far it is
                     4505              what a webhook was not told yet
                     4506              which series have comparisons or await one, and the limits of
                                       the control charts
                     4507, 4508        the pull: its studies, and how far it is
                     4510 to 4573      the jobs that are not finished, and on which series to find
                                       those that are: a few in each, for each is written whole
                     4574 to 4637      what may leave: grades, and what people decided, likewise
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.errors import NotOurs, StateUnreadable
from orthanc_liver.host.intake.place import Place
from orthanc_liver.host.intake.remote_study import Failed, Wanted
from orthanc_liver.host.jobs import stored_form
from orthanc_liver.host.jobs.job import UNFINISHED, Job
from orthanc_liver.host.jobs.stored_form import (
    Fields,
    document,
    opened,
    opened_list,
    read_clearance,
    read_comparison,
    read_contours,
    read_deliveries,
    read_failed,
    read_held,
    read_job,
    read_limits,
    read_place,
    read_resource,
    read_result,
    read_review,
    read_wanted,
    stored_clearance,
    stored_delivery,
    stored_held,
    stored_job,
    stored_limits,
    stored_place,
)
from orthanc_liver.host.quality.comparison import Comparison, ModelLimits
from orthanc_liver.host.review.clearance import DRAWERS, Clearance
from orthanc_liver.host.review.cut import StoredCut
from orthanc_liver.host.review.review import Review
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.untrusted_json import parse_clients_json, parse_shallow_json
from orthanc_liver.identifiers import RESOURCE

_RECORD_METADATA = 4501
_DELIVERIES_METADATA = 4503
_SUPERSEDED_METADATA = 4504
_REVIEWS_METADATA = 4505
_COMPARISONS_METADATA = 4507
_CUT_METADATA = 4508
_PREVIEW_ATTACHMENT = 4502
_UNSURE_ATTACHMENT = 4506
_STATE_PROPERTY = 4501
_DELIVERIES_PROPERTY = 4502
_STUDIES_PROPERTY = 4503
_PLACE_PROPERTY = 4504
_NOTICES_PROPERTY = 4505
_QUALITY_PROPERTY = 4506
_WANTED_PROPERTY = 4507
_PULL_PROPERTY = 4508
_JOBS_PROPERTIES = range(4510, 4574)
_CLEARANCE_PROPERTIES = range(4574, 4574 + DRAWERS)

_OUTDATED = {"Outdated": "its series has changed since"}
_ELSEWHERE = {"Elsewhere": "its slices are not in this study"}
_DELIVERIES_PER_SERIES = 60
_REVIEWS_PER_SERIES = 20
_COMPARISONS_PER_SERIES = 20
_MAX_NOTE_BYTES = 1_000_000
# Three planes of 2 m at 1 mm are 6 megapixels.
_MAX_PICTURE_BYTES = 16_000_000
_MAX_PICTURE_PIXELS = 32_000_000
_MAX_UNSURE_BYTES = 2_000_000
_MOST_NESTED = 4  # a slice's contour
_PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_SIZES = slice(16, 24)

# What the same instances and model would only come to again.
_SETTLED = frozenset({Outcome.SEGMENTED, Outcome.NO_LIVER, Outcome.REFUSED})

Found = TypeVar("Found")
Noted = TypeVar("Noted", Review, Comparison)


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


@dataclass(frozen=True)
class QualityState:
    """series: that have comparisons; awaiting: that came, and were not looked at yet."""

    series: list[str]
    awaiting: list[str]
    limits: list[ModelLimits]


class Ledger:
    """Reads and writes all but what is on results, pictures, backfill, pull and notices.

    Jobs and deliveries that cannot be written (a full disk) are logged, not raised: those in
    memory go on, and whoever keeps a job hears that it must be written again. Anything else that
    cannot be written raises OrthancError.
    """

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._told: set[str] = set()  # notes of others that the log has told of
        self._written: dict[int, str] = {}  # what the properties of the jobs hold for certain

    def read_state(self, at_first: int) -> ServerState:
        """What the server kept; at the very first start, nothing, and the log is at at_first.

        Raises StateUnreadable where what is kept is not ours, and then leaves it as it is.
        """
        seq = self._read_jobs(_STATE_PROPERTY, _read_seq)
        state = ServerState(at_first if seq is None else seq)
        kept: dict[str, Job | str] = {}
        # Up to 0.1.0 they were where only the place in the log is now.
        for number in (_STATE_PROPERTY, *_JOBS_PROPERTIES):
            kept |= self._read_jobs(number, _read_jobs) or {}
        for job_id, one in kept.items():
            record = self.read_record(one.series if isinstance(one, Job) else one)
            if record and record.job.id == job_id:
                # Orthanc may have been killed before the job that ended so was kept as ended here.
                state.finished.append(record.job)
            elif isinstance(one, Job):
                state.unfinished.append(one)
        state.unfinished.sort(key=lambda job: job.created)
        state.finished.sort(key=lambda job: job.completed or job.created)
        return state

    def keep(self, state: ServerState) -> bool:
        """Replace what differs of what the server keeps; False where that was not possible."""
        try:
            for number, text in _documents(state).items():
                if self._written.get(number) != text:
                    self._written.pop(number, None)
                    self._orthanc.set_property(number, text)
                    self._written[number] = text
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
                files = {"FilesKey": job.files_key} if job.files_key else {}
                source = {"SourceKey": job.source_key, **files}
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
            ended = [_ended(one, series_id) for one in _read_deliveries(kept)]
            if any(one.transaction for one in ended):
                raise NotOurs("Transaction is that of what has not ended")
            return ended

        return self._read_note(series_id, _DELIVERIES_METADATA, read) or []

    def record_delivery(self, one: Delivery) -> None:
        """Leave a delivery that ended on its series, which forgets the oldest."""
        try:
            ended = [*self.read_ended_deliveries(one.series), one][-_DELIVERIES_PER_SERIES:]
            text = document(Deliveries=[stored_delivery(each) for each in ended])
            self._write_note(one.series, _DELIVERIES_METADATA, text)
        except OrthancError as error:
            self._orthanc.log_error(f"delivery {one.id} could not be noted: {error}")

    def _read_jobs(self, number: int, read: Callable[[Any], Found]) -> Found | None:
        text = self._written[number] = self._orthanc.property(number)
        return _parsed_property(text, number, "list of jobs", read)

    def read_reviews(self, series_id: str) -> list[Review]:
        """What people decided of a series' results, oldest first."""
        return self._read_own(series_id, _REVIEWS_METADATA, "Reviews", read_review)

    def record_review(self, one: Review) -> None:
        """Leave a review on its series, which forgets the oldest; OrthancError where that fails."""
        reviews = [*self.read_reviews(one.series), one][-_REVIEWS_PER_SERIES:]
        text = document(Reviews=[each.as_json() for each in reviews])
        self._write_note(one.series, _REVIEWS_METADATA, text)

    def read_comparisons(self, series_id: str) -> list[Comparison]:
        """Outlines that came back to a series, in the order in which they were compared."""
        return self._read_own(series_id, _COMPARISONS_METADATA, "Comparisons", read_comparison)

    def record_comparison(self, one: Comparison) -> list[Comparison]:
        """Leave a comparison on its series in the place of an earlier one of the same outline, and
        return all that are there; the oldest give way. OrthancError where that fails."""
        before = self.read_comparisons(one.series)
        others = [each for each in before if each.key != one.key]
        kept = [*others, one][-_COMPARISONS_PER_SERIES:]
        text = document(Comparisons=[each.as_json() for each in kept])
        self._write_note(one.series, _COMPARISONS_METADATA, text)
        return kept

    def forget_comparisons(self, series_id: str) -> None:
        """Take them away from their series; OrthancError where that fails."""
        path = f"/series/{series_id}/metadata/{_COMPARISONS_METADATA}"
        with contextlib.suppress(Missing):
            self._orthanc.get_bytes(path)
            self._orthanc.delete(path)

    def read_quality(self) -> QualityState:
        """What was kept of them; StateUnreadable where it is not ours."""

        def read(kept: Any) -> QualityState:
            fields = opened(kept, "Series")
            return QualityState(
                fields.list_of("Series", read_resource),
                fields.list_of("Awaiting", read_resource),
                fields.list_of("Limits", read_limits),
            )

        return _read_property(
            self._orthanc, _QUALITY_PROPERTY, "comparisons", read
        ) or QualityState([], [], [])

    def keep_quality(self, state: QualityState) -> None:
        """Replace it; OrthancError where that fails."""
        limits = [stored_limits(one) for one in state.limits]
        text = document(Series=state.series, Awaiting=state.awaiting, Limits=limits)
        self._orthanc.set_property(_QUALITY_PROPERTY, text)

    def read_clearances(self) -> list[Clearance]:
        """What is known of outlines; StateUnreadable where what is kept is not ours."""

        def read(kept: Any) -> list[Clearance]:
            return opened(kept, "Clearances").list_of("Clearances", read_clearance)

        return [
            one
            for number in _CLEARANCE_PROPERTIES
            for one in _read_property(self._orthanc, number, "clearances", read) or []
        ]

    def keep_clearances(self, drawer: int, clearances: list[Clearance]) -> None:
        """Replace those of one drawer; OrthancError where that fails."""
        text = document(Clearances=[stored_clearance(one) for one in clearances])
        self._orthanc.set_property(_CLEARANCE_PROPERTIES[drawer], text)

    def _read_own(
        self, series_id: str, number: int, key: str, read: Callable[[Any], Noted]
    ) -> list[Noted]:
        """A list under key; what names another series was copied from there."""

        def read_all(kept: Any) -> list[Noted]:
            found = opened(kept, key).list_of(key, read)
            if any(one.series != series_id for one in found):
                raise NotOurs("it names another series")
            return found

        return self._read_note(series_id, number, read_all) or []

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


def tell_of_record(names: Collection[str]) -> bool:
    """Whether a series with metadata of these names has a record of ours."""
    return str(_RECORD_METADATA) in names


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


@dataclass(frozen=True)
class PullState:
    """How far a pull is, its studies, those that could not be had, and those that were here
    already. held: see keep_pull_place."""

    place: Place
    wanted: list[Wanted]
    failed: list[Failed]
    here: list[Wanted]
    held: Mapping[str, int]


def read_pull(orthanc: Orthanc) -> PullState | None:
    """The last pull; StateUnreadable where what is kept is not ours."""

    def read_progress(kept: Any) -> PullState:
        fields = opened(kept, "created")
        return PullState(
            place=read_place(fields),
            wanted=[],
            failed=fields.list_of("Failed", read_failed),
            here=fields.list_of("Here", read_wanted),
            held=dict(fields.list_of("Held", read_held)),
        )

    def read_list(kept: Any) -> list[Wanted]:
        return opened(kept, "Wanted").list_of("Wanted", read_wanted)

    progress = _read_property(orthanc, _PULL_PROPERTY, "pull", read_progress)
    wanted = _read_property(orthanc, _WANTED_PROPERTY, "pull", read_list)
    return replace(progress, wanted=wanted or []) if progress else None


def keep_wanted(orthanc: Orthanc, wanted: Sequence[Wanted]) -> None:
    """Replace the studies of the pull."""
    orthanc.set_property(_WANTED_PROPERTY, document(Wanted=[one.as_json() for one in wanted]))


def keep_pull_place(
    orthanc: Orthanc,
    place: Place,
    failed: Sequence[Failed],
    here: Sequence[Wanted],
    held: Mapping[str, int],
) -> None:
    """Replace how far the pull is. held: by its UID, how many instances of each study of the one
    at `done` were here before it was first fetched."""
    told = {
        "Failed": [one.as_json() for one in failed],
        "Here": [one.as_json() for one in here],
        "Held": [stored_held(uid, count) for uid, count in held.items()],
    }
    orthanc.set_property(_PULL_PROPERTY, document(**stored_place(place), **told))


def forget_pull(orthanc: Orthanc) -> None:
    """Leave nothing of it; the numbers first, for without the place nobody looks for them."""
    for number in (_WANTED_PROPERTY, _PULL_PROPERTY):
        orthanc.set_property(number, "")


def read_notices(orthanc: Orthanc) -> list[dict[str, Any]]:
    """What a webhook was not told yet; StateUnreadable where what is kept is not ours."""

    def read(kept: Any) -> list[dict[str, Any]]:
        return opened(kept, "Notices").list_of("Notices", lambda one: Fields(one).all)

    return _read_property(orthanc, _NOTICES_PROPERTY, "notices", read) or []


def keep_notices(orthanc: Orthanc, notices: Sequence[dict[str, Any]]) -> None:
    """Replace them."""
    try:
        orthanc.set_property(_NOTICES_PROPERTY, document(Notices=notices))
    except OrthancError as error:
        orthanc.log_error(f"what a webhook is to be told could not be kept: {error}")


def mark_superseded(orthanc: Orthanc, instance: str, by: str) -> None:
    """Note on a result the UID of the one that took its place; Missing where it is gone."""
    _mark(orthanc, instance, {"SupersededBy": by})


def mark_rejected(orthanc: Orthanc, instance: str, at: str) -> None:
    """Note on a result that a person rejected it; the reason may name the patient, and is not."""
    _mark(orthanc, instance, {"Rejected": at})


def mark_elsewhere(orthanc: Orthanc, instance: str) -> None:
    """Note on a result that it belongs to slices which its study does not hold."""
    _mark(orthanc, instance, _ELSEWHERE)


def mark_outdated(orthanc: Orthanc, instance: str) -> None:
    """Note on a result that its slices changed, and nothing took its place."""
    _mark(orthanc, instance, _OUTDATED)


def unmark_made_again(orthanc: Orthanc, instance: str) -> None:
    """The series is there and again what this result was made of; any other note stays."""
    path = f"/instances/{instance}/metadata/{_SUPERSEDED_METADATA}"
    with contextlib.suppress(Missing):
        if orthanc.get_bytes(path) in [json.dumps(one).encode() for one in (_OUTDATED, _ELSEWHERE)]:
            orthanc.delete(path)


def _mark(orthanc: Orthanc, instance: str, note: dict[str, str]) -> None:
    path = f"/instances/{instance}/metadata/{_SUPERSEDED_METADATA}"
    orthanc.put(path, json.dumps(note).encode())


def unmark_superseded(orthanc: Orthanc, instance: str) -> None:
    """This result stands."""
    with contextlib.suppress(Missing):
        orthanc.delete(f"/instances/{instance}/metadata/{_SUPERSEDED_METADATA}")


def write_cut(orthanc: Orthanc, instance: str, cut: StoredCut) -> None:
    """Leave on the RTSTRUCT of parts how they were cut; Missing where it is gone."""
    text = document(**cut.as_json())
    orthanc.put(f"/instances/{instance}/metadata/{_CUT_METADATA}", text.encode())


def read_cut(orthanc: Orthanc, instance: str) -> StoredCut:
    """What write_cut left; Missing where nothing is there, NotOurs for anything else."""
    path = f"/instances/{instance}/metadata/{_CUT_METADATA}"
    return stored_form.read_cut(opened(_parsed_note(orthanc.get_bytes(path)), "Outline"))


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


def write_unsure(orthanc: Orthanc, series_id: str, text: bytes) -> None:
    """Leave on the series where the networks are unsure, or take away what a former job left."""
    if text:
        orthanc.put(f"/series/{series_id}/attachments/{_UNSURE_ATTACHMENT}", text)
    else:
        _detach(orthanc, series_id, _UNSURE_ATTACHMENT)


def forget_pictures(orthanc: Orthanc, series_id: str) -> int:
    """Take away the picture of the series, and where the networks were unsure; returns how many of
    the two there were."""
    numbers = (_PREVIEW_ATTACHMENT, _UNSURE_ATTACHMENT)
    return sum(_detach(orthanc, series_id, number) for number in numbers)


def _detach(orthanc: Orthanc, series_id: str, number: int) -> bool:
    """Whether there was such an attachment."""
    path = f"/series/{series_id}/attachments/{number}"
    try:
        orthanc.get_bytes(f"{path}/size")
        orthanc.delete(path)
    except Missing:
        return False
    return True


def read_unsure(orthanc: Orthanc, series_id: str) -> dict[str, Any]:
    """What write_unsure left; Missing where there is none, NotOurs for anything else."""
    path = f"/series/{series_id}/attachments/{_UNSURE_ATTACHMENT}"
    size_bytes = int(orthanc.get_bytes(f"{path}/size"))
    text = orthanc.get_bytes(f"{path}/data") if size_bytes <= _MAX_UNSURE_BYTES else b""
    try:
        return read_contours(parse_shallow_json(text, _MOST_NESTED))
    except ValueError:
        raise NotOurs(f"attachment {_UNSURE_ATTACHMENT} of the series is not JSON") from None


Ended = TypeVar("Ended", Job, Delivery)


def _ended(one: Ended, series_id: str) -> Ended:
    """What may stand on a series: only what is over, and only of that series."""
    if one.series != series_id:
        raise NotOurs("it names another series")
    if one.state in UNFINISHED:
        raise NotOurs("State is not that of what has ended")
    one.completed = one.completed or one.created
    return one


def _documents(state: ServerState) -> dict[int, str]:
    """What each property of the jobs is to hold, in the order in which it must be written."""
    unfinished: dict[int, list[Any]] = {number: [] for number in _JOBS_PROPERTIES}
    finished: dict[int, dict[str, str]] = {number: {} for number in _JOBS_PROPERTIES}
    for job in state.unfinished:
        unfinished[_property_of(job)].append(stored_job(job))
    for job in state.finished:
        finished[_property_of(job)][job.id] = job.series
    texts = {
        number: document(Unfinished=unfinished[number], Finished=finished[number])
        if unfinished[number] or finished[number]
        else ""
        for number in _JOBS_PROPERTIES
    }
    # Last: what the log told of is done with only where its jobs are kept.
    return texts | {_STATE_PROPERTY: document(Seq=state.seq)}


def _property_of(job: Job) -> int:
    """The same from beginning to end, so that a kill never leaves a job in none or in two."""
    return _JOBS_PROPERTIES[zlib.crc32(job.id.encode()) % len(_JOBS_PROPERTIES)]


def _read_seq(kept: Any) -> int | None:
    fields = opened(kept, "Unfinished")
    return fields.number("Seq") if "Seq" in fields.all else None


def _read_jobs(kept: Any) -> dict[str, Job | str]:
    """Jobs that are not finished, and the series of those that are, by the job's id."""
    fields = opened(kept, "Unfinished")
    unfinished = fields.list_of("Unfinished", read_job)
    finished = fields.given("Finished", lambda places: Fields(places).all) or {}
    # 0.1.0 believed what anybody had written on a series, and kept it.
    places = {
        job_id: series
        for job_id, series in finished.items()
        if isinstance(series, str) and re.fullmatch(RESOURCE, series)
    }
    return places | {job.id: job for job in unfinished}


def _read_deliveries(kept: Any) -> list[Delivery]:
    return [one for several in opened_list(kept, "Deliveries", read_deliveries) for one in several]


def _read_property(
    orthanc: Orthanc, number: int, what: str, read: Callable[[Any], Found]
) -> Found | None:
    return _parsed_property(orthanc.property(number), number, what, read)


def _parsed_property(
    text: str, number: int, what: str, read: Callable[[Any], Found]
) -> Found | None:
    try:
        return read(json.loads(text)) if text else None
    except (NotOurs, ValueError, RecursionError) as error:
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
