"""What is kept outlives an upgrade: 0.1.0's is read, keys may be missing, newer is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.delivery.delivery import Arrival, Delivery
from orthanc_liver.host.delivery.destinations import Destination, DestinationKind
from orthanc_liver.host.errors import NotOurs, StateUnreadable
from orthanc_liver.host.intake.place import Place, Stage
from orthanc_liver.host.intake.remote_study import Failed, Key, Wanted, Way
from orthanc_liver.host.jobs import stored_form
from orthanc_liver.host.jobs.job import Event, Job, State
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import (
    Ledger,
    ServerState,
    forget_pull,
    keep_place,
    keep_pull_place,
    keep_studies,
    keep_wanted,
    read_backfill,
    read_pull,
)
from orthanc_liver.host.server.api import OrthancError, Series
from tests.plugin.host.paper import Paper, orthanc_id

SAMPLES = Path(__file__).parent / "state_0_1_0"
SEGMENTED = "a492c445-fc3497a1-b2dd5467-a0ffd58f-3d1a3bd2"
REFUSED = "c4f6b389-a9d46e28-cbec2629-a4ad56bd-0ef124aa"
NO_LIVER = "89747714-9472b1d4-31797277-194f175e-31acb8b4"
SUPERSEDING = "e2b6d0ba-5b428393-d979b0c8-c311a3f5-890c2293"
RETRIED = "6202148f-8c3a342e-3494e68f-be29d606-c88d1468"
JOBS = range(4510, 4574)  # global properties
PENDING = "094e8593-45dd9df5-c8f37312-a44c55af-98abc90c"
RUNNING = "40914bdd-8fa23c38-17de353a-4b0b7f0e-ce80366e"


@pytest.fixture
def old() -> Paper:
    """An Orthanc in which 0.1.0 ran."""
    paper = Paper()
    paper.studies = json.loads((SAMPLES / "studies.json").read_text())
    for sample in SAMPLES.glob("property_*.json"):
        paper.properties[int(sample.stem.removeprefix("property_"))] = sample.read_text()
    for sample in SAMPLES.glob("metadata_*.json"):
        number, _, series = sample.stem.removeprefix("metadata_").partition("_of_")
        paper.kept[f"/series/{series}/metadata/{number}"] = sample.read_bytes()
    return paper


def ledger_of(paper: Paper) -> Ledger:
    return Ledger(paper)  # type: ignore[arg-type] # as much as is used of one


def test_the_jobs_of_0_1_0(old: Paper) -> None:
    state = ledger_of(old).read_state(at_first=7)
    assert state.seq == 135
    unfinished = [(job.series, job.state, job.attempt, job.priority) for job in state.unfinished]
    assert unfinished == [
        (RETRIED, State.RETRY, 2, -100),
        (RUNNING, State.RUNNING, 1, 0),
        (PENDING, State.PENDING, 0, 0),
    ]
    assert state.unfinished[0].reason == "the inference process was ended by SIGKILL"
    assert [job.force for job in state.unfinished] == [False, False, True]
    finished = [(job.series, job.outcome) for job in state.finished]
    assert finished == [
        (SEGMENTED, Outcome.SEGMENTED),
        (REFUSED, Outcome.REFUSED),
        (NO_LIVER, Outcome.NO_LIVER),
        (SUPERSEDING, Outcome.SEGMENTED),
    ]
    assert old.said == []


@pytest.mark.parametrize("series", [SEGMENTED, REFUSED, NO_LIVER, SUPERSEDING])
def test_the_record_of_0_1_0_says_what_it_said(old: Paper, series: str) -> None:
    record = ledger_of(old).read_record(series)
    assert record is not None
    written = json.loads(old.kept[f"/series/{series}/metadata/4501"])
    # The job is shown to a client as 0.1.0 showed it, but for the moment at which it is shown and
    # for what it did not tell yet.
    now = {"Timestamp": written["Job"]["Timestamp"]}
    shown = record.job.as_json() | now
    assert shown["Content"].pop("Ending") == shown["Content"]["Outcome"]
    assert shown == written["Job"]
    assert record.result == written["Result"]
    assert record.settles(record.job.source_key, "a" * 64)


def test_the_deliveries_of_0_1_0(old: Paper) -> None:
    ledger = ledger_of(old)
    under_way = ledger.read_deliveries()
    written = json.loads(old.properties[4502])
    assert [(one.series, one.state, one.attempts) for one in under_way] == [
        (SUPERSEDING, State.RETRY, 1)
    ] * 6
    assert {one.destination for one in under_way} == {
        Destination(DestinationKind.MODALITY, "nowhere")
    }
    assert shown_as_0_1_0_did(under_way) == written
    ended = 0
    for series in (SEGMENTED, SUPERSEDING):
        written = json.loads(old.kept[f"/series/{series}/metadata/4503"])
        read = ledger.read_ended_deliveries(series)
        assert shown_as_0_1_0_did(read) == written
        ended += len(read)
    assert ended == 12
    assert old.said == []


def shown_as_0_1_0_did(deliveries: list[Delivery]) -> list[dict[str, Any]]:
    """It kept the objects of a result as one delivery, which are three here."""
    shown = []
    for number in range(0, len(deliveries), 3):
        parts = deliveries[number : number + 3]
        first = parts[0]
        assert [one.kind for one in parts] == ["RTSTRUCT", "SEG", "SR"]
        assert {one.outline for one in parts} == {first.instance}
        assert len({one.id for one in parts}) == 3
        for one in parts:
            same = {"ID": first.id, "Kind": "RTSTRUCT", "Instances": [first.instance]}
            assert one.as_json() | same == first.as_json()
        old = first.as_json() | {"Instances": [one.instance for one in parts]}
        del old["Kind"], old["Arrival"]
        shown.append(old)
    return shown


def test_what_was_split_has_the_same_ids_each_time_it_is_read(old: Paper) -> None:
    ids = [[one.id for one in ledger_of(old).read_deliveries()] for _ in range(2)]
    assert ids[0] == ids[1]


def test_the_backfill_of_0_1_0(old: Paper) -> None:
    kept = read_backfill(old)  # type: ignore[arg-type] # as much as is used of one
    assert kept is not None
    place, studies = kept
    assert (place.stage, place.done, place.submitted, place.skipped) == (Stage.RUNNING, 1, 0, 1)
    assert place.created == datetime(2026, 11, 28, 3, 39, 45, 289406, tzinfo=UTC)
    assert studies == json.loads(old.properties[4503])


def test_what_0_1_0_kept_is_the_same_when_it_is_kept_again(old: Paper) -> None:
    ledger = ledger_of(old)
    state = ledger.read_state(at_first=7)
    under_way = ledger.read_deliveries()
    ledger.keep(state)
    ledger.keep_deliveries(under_way)
    assert ledger.read_state(at_first=7) == state
    assert ledger.read_deliveries() == under_way
    record = ledger.read_record(SUPERSEDING)
    assert record is not None
    ledger.record(record.job)
    assert ledger.read_record(SUPERSEDING) == record
    written = [text for number in (4501, 4502, *JOBS) if (text := old.properties.get(number))]
    assert len(written) > 3
    written.append(old.kept[f"/series/{SUPERSEDING}/metadata/4501"].decode())
    assert all("Version" in json.loads(text) for text in written)


def a_job() -> Job:
    """One of which every key has a value."""
    job = Job(orthanc_id("series"), orthanc_id("study"), "key", force=True, priority=3)
    job.apply(Event.START)
    job.progress_percent = 61
    job.outcome, job.reason = Outcome.FAILED, "because"
    job.model = {"Name": "m", "Sha256": "s"}
    rtstruct = {"Instance": orthanc_id("rtstruct"), "SopInstanceUid": "2.25.1", "Kind": "RTSTRUCT"}
    seg = {"Instance": orthanc_id("seg"), "SopInstanceUid": "2.25.3", "Kind": "SEG"}
    job.result = {**rtstruct, "Further": [seg], "Supersedes": "2.25.4"}
    job.source_updated, job.files_key = job.created, "another key"
    job.report = {"liver_ml": 1500.5, "warnings": ["a warning"], "seconds": {"read": 1.5}}
    job.apply(Event.FAIL)
    return job


def a_delivery() -> Delivery:
    """One of which every key has a value."""
    return Delivery(
        job=a_job().id,
        series=orthanc_id("series"),
        outline=orthanc_id("rtstruct"),
        instance=orthanc_id("seg"),
        kind="SEG",
        destination=Destination(DestinationKind.DICOM_WEB, "archive"),
        state=State.FAILURE,
        attempts=3,
        reason="why",
        completed=datetime.now(UTC),
        orthanc_job=a_job().id,
        arrival=Arrival.REFUSED,
        transaction="2.25.9",
        is_without_proof=True,
    )


def again(stored: Any) -> Any:
    return json.loads(json.dumps(stored))


def test_a_job_and_a_delivery_survive_being_written_down() -> None:
    job, delivery = a_job(), a_delivery()
    assert stored_form.read_job(again(stored_form.stored_job(job))) == job
    assert stored_form.read_deliveries(again(stored_form.stored_delivery(delivery))) == [delivery]


def test_no_key_is_needed_but_those_that_say_what_it_is() -> None:
    for stored, read, needed in (
        (stored_form.stored_job(a_job()), stored_form.read_job, {"ID", "Series", "Study"}),
        (
            stored_form.stored_delivery(a_delivery()),
            stored_form.read_deliveries,
            {"ID", "Job", "Series", "Destination"},
        ),
    ):
        lacks = {key: {k: v for k, v in stored.items() if k != key} for key in stored}
        assert {key for key, rest in lacks.items() if not readable(read, rest)} == needed
        assert readable(read, {key: stored[key] for key in needed})
        assert readable(read, stored | {"OfALaterVersion": [1]})


def readable(read: Callable[[Any], object], stored: Any) -> bool:
    try:
        read(again(stored))
    except NotOurs:
        return False
    return True


class Killed(Exception):
    """As by kill -9: what was about to be written was not."""


def test_a_kill_while_the_jobs_of_0_1_0_move_to_their_own_properties(old: Paper) -> None:
    before = ledger_of(old).read_state(at_first=7)
    write, begun = old.set_property, dict(old.properties)
    for kill_before in itertools.count():
        old.properties, writes = dict(begun), itertools.count()

        def killed_before(number: int, text: str) -> None:
            if next(writes) == kill_before:  # noqa: B023 used before the next turn
                raise Killed
            write(number, text)

        old.set_property = killed_before  # type: ignore[method-assign]
        ledger = ledger_of(old)
        try:
            ledger.keep(ledger.read_state(at_first=7))
        except Killed:
            assert ledger_of(old).read_state(at_first=7) == before
        else:
            break
    assert kill_before > 3
    assert "Unfinished" not in json.loads(old.properties[4501])
    assert ledger_of(old).read_state(at_first=7) == before


def test_what_is_written_for_an_arriving_series_does_not_grow_with_those_that_wait() -> None:
    paper = Paper()
    written: list[int] = []
    write = paper.set_property

    def counted(number: int, text: str) -> None:
        written.append(len(text))
        write(number, text)

    paper.set_property = counted  # type: ignore[method-assign]
    queue = JobQueue(200, ledger_of(paper))
    for name in map(str, range(250)):
        instances = (orthanc_id(name),)
        now = datetime.now(UTC)
        series = Series(orthanc_id(f"{name}a"), orthanc_id("study"), instances, {}, True, now)
        queue.submit(series, force=False)
    kept = sum(len(text) for text in paper.properties.values())
    assert sum(written) < 6 * kept  # 125 times where all are written for each
    assert len(ledger_of(paper).read_state(at_first=7).unfinished) == 250


def test_a_change_of_the_place_alone_writes_no_job() -> None:
    paper = Paper()
    queue = JobQueue(200, ledger_of(paper))
    series = Series(orthanc_id("series"), orthanc_id("study"), (), {}, True, datetime.now(UTC))
    queue.submit(series, force=False)
    for number in JOBS:
        paper.properties.pop(number, None)
    queue.advance(17)
    assert paper.properties == {4501: '{"Version": 1, "Seq": 17}'}


@pytest.mark.parametrize("fails", ["a job", "the place"])
def test_what_could_not_be_kept_is_written_again(fails: str) -> None:
    """Also where the database did keep it although it said that it could not."""
    paper = Paper()
    write = paper.set_property

    def fail(number: int, text: str) -> None:
        write(number, text)
        if (number == 4501) is (fails == "the place"):
            raise OrthancError("the disk is full")

    ledger = ledger_of(paper)
    job = Job(orthanc_id("series"), orthanc_id("study"), "key")
    assert ledger.keep(ServerState(1))
    paper.set_property = fail  # type: ignore[method-assign]
    assert not ledger.keep(ServerState(2, [job]))
    paper.set_property = write  # type: ignore[method-assign]
    assert ledger.keep(ServerState(1))
    assert ledger_of(paper).read_state(at_first=7) == ServerState(1)


def test_the_place_is_not_kept_where_a_job_could_not_be() -> None:
    paper = Paper()
    ledger = ledger_of(paper)
    assert ledger.keep(ServerState(1))
    write = paper.set_property

    def fail(number: int, text: str) -> None:
        if number in JOBS:
            raise OrthancError("the disk is full")
        write(number, text)

    paper.set_property = fail  # type: ignore[method-assign]
    job = Job(orthanc_id("series"), orthanc_id("study"), "key")
    assert not ledger.keep(ServerState(2, [job]))
    assert ledger_of(paper).read_state(at_first=7).seq == 1


def test_a_state_without_a_place_in_the_change_log_begins_at_its_end(old: Paper) -> None:
    old.properties[4501] = '{"Version": 1}'
    state = ledger_of(old).read_state(at_first=7)
    assert (state.seq, state.unfinished, state.finished) == (7, [], [])


READERS: dict[int, Callable[[Any], object]] = {
    4501: lambda paper: ledger_of(paper).read_state(at_first=7),
    4510: lambda paper: ledger_of(paper).read_state(at_first=7),
    4573: lambda paper: ledger_of(paper).read_state(at_first=7),
    4502: lambda paper: ledger_of(paper).read_deliveries(),
    4574: lambda paper: ledger_of(paper).read_clearances(),
    4637: lambda paper: ledger_of(paper).read_clearances(),
    4503: read_backfill,
    4504: read_backfill,
    4507: read_pull,
    4508: read_pull,
}


@pytest.mark.parametrize("number", READERS)
def test_what_a_newer_version_wrote_is_refused_and_left_alone(old: Paper, number: int) -> None:
    keep_studies(old, [])  # type: ignore[arg-type] # as above
    keep_place(old, Place(datetime.now(UTC)))  # type: ignore[arg-type] # as above
    keep_pull_place(old, Place(datetime.now(UTC)), [], [], {})  # type: ignore[arg-type] # as above
    old.properties[number] = '{"Version": 2, "Unfinished": "in another form"}'
    before = dict(old.properties)
    with pytest.raises(StateUnreadable, match=f"{number} .* newer orthanc-liver wrote it, in form"):
        READERS[number](old)
    assert old.properties == before


@pytest.mark.parametrize("number", READERS)
@pytest.mark.parametrize(
    "text",
    ["{", "{}", "7", "null", '"x"', "[[]]", "[7]", '{"x": 1}', '{"Version": true}', "[" * 99_999],
    ids=lambda text: text[:20],
)
def test_what_another_program_wrote_is_refused_and_left_alone(
    old: Paper, number: int, text: str
) -> None:
    old.properties[number] = text
    before = dict(old.properties)
    with pytest.raises(StateUnreadable, match=f"property {number} does not hold"):
        READERS[number](old)
    assert old.properties == before


def test_a_pull_is_read_as_it_was_kept() -> None:
    paper: Any = Paper()
    assert read_pull(paper) is None
    wanted = [
        Wanted(Way.MODALITY, "pacs", Key.ACCESSION_NUMBER, "A 1"),
        Wanted(Way.DICOM_WEB, "archive", Key.STUDY_UID, "1.2.3"),
    ]
    place = Place(datetime.now(UTC), Stage.CANCELLED, done=1)
    keep_wanted(paper, wanted)
    failed = [Failed(wanted[0], "nothing there")]
    keep_pull_place(paper, place, failed, [wanted[1]], {"1.2.3": 4})
    kept = read_pull(paper)
    assert kept is not None
    assert (kept.place, kept.wanted) == (place, wanted)
    assert (kept.failed, kept.here, kept.held) == (failed, [wanted[1]], {"1.2.3": 4})


def test_a_pull_that_is_forgotten_half_way_can_be_forgotten_again() -> None:
    class Killed(Paper):
        def set_property(self, number: int, text: str) -> None:
            if text == "" and "" in self.properties.values():
                raise KeyboardInterrupt
            super().set_property(number, text)

    paper: Any = Killed()
    keep_wanted(paper, [Wanted(Way.MODALITY, "pacs", Key.ACCESSION_NUMBER, "SECRET")])
    keep_pull_place(paper, Place(datetime.now(UTC), Stage.DONE, done=1), [], [], {})
    with pytest.raises(KeyboardInterrupt):
        forget_pull(paper)
    assert read_pull(paper) is not None
    assert "SECRET" not in str(paper.properties)


@pytest.mark.parametrize(
    "study",
    [
        {},
        {"Modality": "pacs"},
        {"Modality": "pacs", "DicomWeb": "x", "AccessionNumber": "A"},
        {"Modality": "", "AccessionNumber": "A"},
        {"Modality": "pacs", "AccessionNumber": "*"},
        {"Modality": "pacs", "StudyInstanceUID": "1.2/../x"},
    ],
)
def test_a_study_that_nobody_can_have_asked_for_is_not_pulled(study: dict[str, str]) -> None:
    paper: Any = Paper()
    paper.properties[4507] = json.dumps({"Version": 1, "Wanted": [study]})
    with pytest.raises(StateUnreadable, match="property 4507 does not hold orthanc-liver's pull"):
        read_pull(paper)


def test_what_0_1_0_took_from_anybody_does_not_stop_the_plugin(old: Paper) -> None:
    state = json.loads(old.properties[4501])
    state["Finished"] |= {"../../tools/shutdown?x=": "../../instances", "x": 7}
    old.properties[4501] = json.dumps(state)
    assert len(ledger_of(old).read_state(at_first=7).finished) == 4
    assert not [path for path in old.asked if ".." in path or "/7/" in path]


def test_a_series_keeps_its_last_result_and_its_last_deliveries() -> None:
    paper = Paper()
    ledger = ledger_of(paper)
    job = a_job()
    ledger.record(job)
    ledger.record(replace(job, result=None, reason="later"))
    record = ledger.read_record(job.series)
    assert record is not None
    assert job.result is not None
    assert (record.job.reason, record.job.result) == ("later", None)
    source = {"SourceKey": "key", "FilesKey": job.files_key}
    assert record.result == {**job.result, **source, "Job": job.id, "Model": job.model}
    for number in range(65):
        ledger.record_delivery(replace(a_delivery(), attempts=number, transaction=""))
    kept = ledger.read_ended_deliveries(job.series)
    assert [one.attempts for one in kept] == list(range(5, 65))
