"""Whether a series needs a job, door by door, with an Orthanc on paper."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.errors import NoModelYet, NotAdmitted
from orthanc_liver.host.intake.intake import Door, Intake, Settled
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.source import files_key, md5_of
from orthanc_liver.host.server.api import Missing, Series
from orthanc_liver.host.settings import Settings
from tests.plugin.host.paper import Paper, orthanc_id
from tests.support.patience import patience_s

A_CT, STUDY, RTSTRUCT = orthanc_id("ct"), orthanc_id("study"), orthanc_id("rtstruct")
ARRIVAL = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SETTINGS = Settings(minimum_slices=2, filter={"StudyDescription": "liver"})


class Archive(Paper):
    """Holds one CT series and perhaps its RTSTRUCT."""

    def __init__(self) -> None:
        super().__init__()
        self.instances: tuple[str, ...] = ("i1", "i2", "i3")
        self.results = {RTSTRUCT}
        self.files: dict[str, bytes] = {}
        self.on_read: Callable[[], None] = lambda: None
        self.modality = "CT"
        self.updated = ARRIVAL

    def series(self, series_id: str) -> Series:
        if series_id != A_CT:
            raise Missing(series_id)
        tags = {"Modality": self.modality}
        return Series(A_CT, STUDY, self.instances, tags, True, self.updated)

    def get(self, path: str) -> Any:
        if path == f"/series/{A_CT}/instances":
            where = {"ImagePositionPatient": "0\\0\\0"}
            return [{"ID": one, "MainDicomTags": where} for one in self.instances]
        return super().get(path)

    def study_tags(self, series: Series) -> Mapping[str, str]:
        return {"StudyDescription": "liver"}

    def dicom_file(self, instance: str) -> bytes:
        self.on_read()
        return self.files[instance]

    def has_instance(self, instance: str) -> bool:
        return instance in self.results


class Desk:
    """The intake of an archive in which "new" is the model."""

    def __init__(self, model: str = "new") -> None:
        self.archive = Archive()
        paper: Any = self.archive
        self.ledger = Ledger(paper)
        self.queue = JobQueue(10, self.ledger)
        self.intake = Intake(paper, self.queue, self.ledger, SETTINGS, lambda: model)

    def noted(self, outcome: Outcome, model: str) -> Job:
        """A job that ended so and is known from the series only."""
        source_key = self.archive.series(A_CT).source_key
        job = Job(A_CT, STUDY, source_key, state=State.SUCCESS, outcome=outcome)
        job.model, job.completed = {"Name": "a network", "Sha256": model}, job.created
        if outcome is Outcome.SEGMENTED:
            job.result = {"Instance": RTSTRUCT, "SopInstanceUid": "1.2.3", "Further": []}
        self.ledger.record(job)
        return job


# What came of it before, by which model; and whether that settles it at each door.
SETTLED = [
    (Outcome.SEGMENTED, "new", {Door.ARRIVED: True, Door.ASKED: True, Door.BACKFILL: True}),
    (Outcome.NO_LIVER, "new", {Door.ARRIVED: True, Door.ASKED: True, Door.BACKFILL: True}),
    (Outcome.REFUSED, "new", {Door.ARRIVED: True, Door.ASKED: True, Door.BACKFILL: True}),
    (Outcome.FAILED, "new", {Door.ARRIVED: True, Door.ASKED: False, Door.BACKFILL: False}),
    (Outcome.CANCELLED, "new", {Door.ARRIVED: True, Door.ASKED: False, Door.BACKFILL: False}),
    (Outcome.SEGMENTED, "old", {Door.ARRIVED: True, Door.ASKED: False, Door.BACKFILL: False}),
]


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize(("outcome", "model", "settled"), SETTLED)
def test_what_a_former_job_settles(
    outcome: Outcome, model: str, settled: dict[Door, bool], door: Door
) -> None:
    desk = Desk()
    before = desk.noted(outcome, model)
    found = desk.intake.offer(A_CT, door)
    assert isinstance(found, Settled) == settled[door]
    if isinstance(found, Settled):
        assert found.job.id == before.id
    # Who asks finds the finished job in the list; nobody else puts it there.
    listed = [before.id] if settled[door] else [job.id for job in [found] if isinstance(job, Job)]
    assert desk.queue.ids() == (listed if door is Door.ASKED or not settled[door] else [])


@pytest.mark.parametrize("door", Door)
def test_a_late_slice_is_never_settled(door: Door) -> None:
    desk = Desk()
    desk.noted(Outcome.SEGMENTED, "new")
    desk.archive.instances = ("i1", "i2", "i3", "i4")
    assert isinstance(desk.intake.offer(A_CT, door), Job)


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize(
    ("arrived", "settled"), [(timedelta(seconds=-1), True), (timedelta(seconds=1), False)]
)
def test_a_job_of_0_1_0_settles_what_has_not_been_overwritten_since(
    arrived: timedelta, settled: bool, door: Door
) -> None:
    """It has no check sums."""
    desk = Desk()
    job = desk.noted(Outcome.SEGMENTED, "new")
    desk.archive.updated = job.created + arrived
    assert isinstance(desk.intake.offer(A_CT, door), Settled) == settled


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize("kept_by", ["Orthanc", "nobody"])
def test_of_what_came_again_the_files_tell(kept_by: str, door: Door) -> None:
    desk = Desk()
    files = {name: f"file of {name}".encode() for name in desk.archive.instances}
    job = desk.noted(Outcome.SEGMENTED, "new")
    job.source_updated = ARRIVAL
    job.files_key = files_key({name: md5_of(file) for name, file in files.items()})
    desk.ledger.record(job)

    def hold(files: dict[str, bytes]) -> None:
        desk.archive.files = files
        if kept_by == "Orthanc":
            for name, file in files.items():
                path = f"/instances/{name}/attachments/dicom/md5"
                desk.archive.kept[path] = (
                    hashlib.md5(file, usedforsecurity=False).hexdigest().encode()
                )

    # Nothing came since: no file is looked at.
    assert isinstance(desk.intake.offer(A_CT, door), Settled)
    desk.archive.updated = ARRIVAL + timedelta(seconds=90)
    hold(files)
    assert isinstance(desk.intake.offer(A_CT, door), Settled)
    hold(files | {"i2": files["i3"], "i3": files["i2"]})
    assert isinstance(desk.intake.offer(A_CT, door), Job)


def sent_again(desk: Desk) -> Job:
    """What an older job made of a series whose files have to be read to tell that they are the
    same."""
    desk.archive.files = {name: f"file of {name}".encode() for name in desk.archive.instances}
    job = desk.noted(Outcome.SEGMENTED, "new")
    job.source_updated = ARRIVAL
    job.files_key = files_key({name: md5_of(file) for name, file in desk.archive.files.items()})
    desk.ledger.record(job)
    desk.archive.updated = ARRIVAL + timedelta(seconds=90)
    return job


def test_nobody_waits_for_the_queue_while_files_are_read() -> None:
    desk = Desk()
    job = sent_again(desk)
    counted = []

    def count() -> None:
        asking = threading.Thread(target=lambda: counted.append(desk.queue.count()), daemon=True)
        asking.start()
        asking.join(patience_s(1.0))

    desk.archive.on_read = count
    found = desk.intake.offer(A_CT, Door.ARRIVED)
    assert isinstance(found, Settled)
    assert found.job.id == job.id
    assert len(counted) == len(desk.archive.files)


def test_a_job_that_ends_while_files_are_read_counts() -> None:
    desk = Desk()
    sent_again(desk)
    later = Job(A_CT, STUDY, desk.archive.series(A_CT).source_key, state=State.SUCCESS)
    later.outcome, later.completed = Outcome.NO_LIVER, later.created
    later.model = {"Name": "a network", "Sha256": "new"}
    later.source_updated = desk.archive.updated

    def end() -> None:
        desk.ledger.record(later)

    desk.archive.on_read = end
    found = desk.intake.offer(A_CT, Door.ASKED)
    assert isinstance(found, Settled)
    assert found.job.id == later.id
    assert desk.queue.ids() == [later.id]


def test_a_result_that_was_deleted_is_made_again_for_who_asks_only() -> None:
    desk = Desk()
    desk.noted(Outcome.SEGMENTED, "new")
    desk.archive.results.clear()
    assert isinstance(desk.intake.offer(A_CT, Door.ARRIVED), Settled)
    assert isinstance(desk.intake.offer(A_CT, Door.BACKFILL), Job)


def test_force_is_stronger_than_any_record() -> None:
    desk = Desk()
    desk.noted(Outcome.SEGMENTED, "new")
    job = desk.intake.offer(A_CT, Door.ASKED, force=True)
    assert isinstance(job, Job)
    assert job.force


def test_the_backfill_waits_for_a_model_and_gives_way() -> None:
    desk = Desk(model="")
    with pytest.raises(NoModelYet):
        desk.intake.offer(A_CT, Door.BACKFILL)
    assert desk.queue.ids() == []
    job = desk.intake.offer(A_CT, Door.ARRIVED)
    assert isinstance(job, Job)
    old = Desk().intake.offer(A_CT, Door.BACKFILL)
    assert isinstance(old, Job)
    assert old.priority < job.priority


@pytest.mark.parametrize("door", Door)
def test_the_settings_hold_at_every_door(door: Door) -> None:
    desk = Desk(model="")
    desk.archive.modality = "MR"
    with pytest.raises(NotAdmitted, match="not of modality CT"):
        desk.intake.offer(A_CT, door, force=True)
    with pytest.raises(Missing):
        desk.intake.offer(orthanc_id("another"), door)
    assert desk.queue.ids() == []
