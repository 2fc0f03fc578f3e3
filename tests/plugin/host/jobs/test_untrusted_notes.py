"""Any client of Orthanc may write metadata and attachments: what is not ours does nothing."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import Destination, DestinationKind
from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.records import Ledger, read_preview, write_preview
from orthanc_liver.host.server.api import Missing
from tests.plugin.host.paper import Paper, orthanc_id
from tests.support.scripted_engine import tiny_png

SERIES = orthanc_id("series")
RECORD = f"/series/{SERIES}/metadata/4501"
DELIVERIES = f"/series/{SERIES}/metadata/4503"
PICTURE = f"/series/{SERIES}/attachments/4502"
JOB = "5a3c0f0e-0000-4000-8000-00000000000d"
SHUTDOWN = "../../tools/shutdown?x="


def ledger_of(paper: Paper) -> Ledger:
    return Ledger(paper)  # type: ignore[arg-type] # as much as is used of one


def our_notes() -> tuple[Any, Any]:
    """A record and deliveries as we write them, which every attack below changes in one place."""
    paper = Paper()
    objects = [
        {"Kind": kind, "Instance": orthanc_id(kind), "SopInstanceUid": f"2.25.{number}"}
        for number, kind in enumerate(("RTSTRUCT", "SEG"))
    ]
    job = Job(
        SERIES, orthanc_id("study"), "key", id=JOB, state=State.SUCCESS, outcome=Outcome.SEGMENTED
    )
    job.completed = job.started = job.created
    job.model = {"Name": "m", "Sha256": "s"}
    job.result = {**objects[0], "Further": objects[1:], "Supersedes": "2.25.9"}
    job.report = {"liver_ml": 1500.0, "warnings": ["a warning"], "seconds": {"read": 1.0}}
    ledger_of(paper).record(job)
    ledger_of(paper).record_delivery(
        Delivery(
            job.id,
            SERIES,
            job.result_instances[0],
            job.result_instances[1],
            "SEG",
            Destination(DestinationKind.MODALITY, "pacs"),
            state=State.SUCCESS,
            completed=job.created,
            orthanc_job=job.id,
        )
    )
    return json.loads(paper.kept[RECORD]), json.loads(paper.kept[DELIVERIES])


OUR_RECORD, OUR_DELIVERIES = our_notes()


def record_in(note: bytes) -> tuple[Any, Paper]:
    paper = Paper()
    paper.kept[RECORD] = note
    return ledger_of(paper).read_record(SERIES), paper


def changed(note: Any, path: tuple[Any, ...], value: Any) -> bytes:
    """The note as JSON, with another value at a path of keys."""
    other = copy.deepcopy(note)
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(other).encode()


def test_ours_is_read() -> None:
    record, paper = record_in(json.dumps(OUR_RECORD).encode())
    assert record.job.result == OUR_RECORD["Job"]["Result"]
    assert paper.said == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("Version",), 2),
        (("Version",), "1"),
        (("Job",), None),
        (("Job",), []),
        (("Job", "ID"), SHUTDOWN),
        (("Job", "ID"), None),
        (("Job", "ID"), 7),
        (("Job", "ID"), OUR_RECORD["Job"]["ID"] + "\n"),
        (("Job", "Series"), orthanc_id("a series that the filter does not admit")),
        (("Job", "Series"), SHUTDOWN),
        (("Job", "Study"), orthanc_id("another study")),
        (("Job", "State"), "Pending"),
        (("Job", "State"), "Running"),
        (("Job", "State"), "Retry"),
        (("Job", "State"), "Paused"),
        (("Job", "State"), None),
        (("Job", "Priority"), "high"),
        (("Job", "Priority"), 2**70),
        (("Job", "Attempt"), -1),
        (("Job", "Attempt"), True),
        (("Job", "Progress"), 101),
        (("Job", "Force"), 1),
        (("Job", "CreationTime"), "20261345T000000.000000"),
        (("Job", "CreationTime"), "00010101T000000.000000"),
        (("Job", "CompletionTime"), 7),
        (("Job", "Outcome"), "cured"),
        (("Job", "Outcome"), 7),
        (("Job", "SourceKey"), ["key"]),
        (("Job", "Reason"), {}),
        (("Job", "Model"), "m"),
        (("Job", "Model", "Sha256"), 7),
        (("Job", "Result"), [1]),
        (("Job", "Result", "Instance"), SHUTDOWN),
        (("Job", "Result", "Instance"), None),
        (("Job", "Result", "SopInstanceUid"), "1.2.<b>"),
        (("Job", "Result", "Supersedes"), 7),
        (("Job", "Result", "Further"), {}),
        (("Job", "Result", "Further"), ["x"]),
        (("Job", "Result", "Further", 0, "Instance"), SHUTDOWN),
        (("Job", "Report"), "x"),
        (("Job", "Report", "liver_ml"), "1500"),
        (("Job", "Report", "liver_ml"), float("nan")),
        (("Job", "Report", "other"), float("inf")),
        (("Job", "Report", "no_liver"), "x"),
        (("Job", "Report", "no_liver"), {"reason": 7}),
        (("Job", "Report", "grade"), "certain"),
        (("Job", "Report", "grade"), 1),
        (("Job", "Report", "lungs"), "x"),
        (("Job", "Report", "lungs"), {"reason": 7}),
        (("Job", "Report", "look_at"), {"slices": [1, 2]}),
        (("Job", "Report", "look_at"), [{"slices": [2, 1]}]),
        (("Job", "Report", "look_at"), [{"slices": [0, 1]}]),
        (("Job", "Report", "look_at"), [{"slices": ["1", "<b>"]}]),
        (("Job", "Report", "look_at"), [{"slices": [1]}]),
        (("Job", "Report", "warnings"), "x"),
        (("Job", "Report", "warnings"), [{}]),
        (("Result",), 7),
        (("Result", "Instance"), SHUTDOWN),
        (("Result", "Model"), 7),
        (("Padding",), "x" * 1_000_000),
    ],
)
def test_a_record_that_is_changed_in_one_place_is_not_ours(
    path: tuple[Any, ...], value: Any
) -> None:
    record, paper = record_in(changed(OUR_RECORD, path, value))
    assert record is None
    assert [said.partition(":")[0] for said in paper.said] == [
        f"metadata 4501 of {SERIES} is not ours"
    ]
    assert SHUTDOWN not in paper.said[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("Deliveries", 0, "State"), "Pending"),
        (("Deliveries", 0, "State"), "Running"),
        (("Deliveries", 0, "State"), "Retry"),
        (("Deliveries", 0, "Series"), orthanc_id("another series")),
        (("Deliveries", 0, "ID"), SHUTDOWN),
        (("Deliveries", 0, "Job"), SHUTDOWN),
        (("Deliveries", 0, "OrthancJob"), SHUTDOWN),
        (("Deliveries", 0, "Instances"), [SHUTDOWN]),
        (("Deliveries", 0, "Instances"), "x"),
        (("Deliveries", 0, "Destination"), None),
        (("Deliveries", 0, "Destination"), {}),
        (("Deliveries", 0, "Destination"), {"Modality": ""}),
        (("Deliveries", 0, "Destination"), {"Modality": ["pacs"]}),
        (("Deliveries", 0, "Destination"), {"Modality": "a", "DicomWeb": "b"}),
        (("Deliveries", 0, "Attempts"), "3"),
        (("Deliveries", 0, "Transaction"), "2.25.7"),
        (("Deliveries", 0, "Arrival"), "lost"),
        (("Deliveries", 0, "Outline"), SHUTDOWN),
        (("Deliveries", 0), 7),
        (("Deliveries",), {}),
        (("Version",), 2),
    ],
)
def test_deliveries_that_are_changed_in_one_place_are_not_ours(
    path: tuple[Any, ...], value: Any
) -> None:
    paper = Paper()
    paper.kept[DELIVERIES] = changed(OUR_DELIVERIES, path, value)
    deliveries = Deliveries(ledger_of(paper))
    deliveries.restore([SERIES])
    assert deliveries.due() == deliveries.running() == deliveries.awaiting_proof() == []
    assert deliveries.show_all() == []
    assert len(paper.said) == 1


def test_what_is_not_ours_is_said_once_and_ours_takes_its_place() -> None:
    paper = Paper()
    paper.kept[RECORD] = paper.kept[DELIVERIES] = b"[1]"
    ledger = ledger_of(paper)
    for _ in range(3):
        assert ledger.read_record(SERIES) is None
        assert ledger.read_ended_deliveries(SERIES) == []
    assert [said[:13] for said in paper.said] == ["metadata 4501", "metadata 4503"]
    ended = Job(SERIES, orthanc_id("study"), "key", state=State.FAILURE, outcome=Outcome.REFUSED)
    assert ledger.record(ended)
    assert ledger.read_record(SERIES) is not None
    paper.kept[RECORD] = b"not ours again"
    assert ledger.read_record(SERIES) is None
    assert len(paper.said) == 3


def test_a_note_on_a_series_that_is_deleted_at_this_moment_is_none() -> None:
    paper = Paper()
    paper.kept[RECORD] = json.dumps(OUR_RECORD).encode()

    def gone(path: str) -> Any:
        raise Missing(path)

    paper.get = gone  # type: ignore[method-assign] # the series is deleted between two questions
    assert ledger_of(paper).read_record(SERIES) is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*State, *Outcome, SERIES, orthanc_id("study"), "20260101T000000.000000"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def places(note: Any) -> list[tuple[Any, ...]]:
    """Every path of keys in a note."""
    items = (
        list(note.items())
        if isinstance(note, dict)
        else list(enumerate(note))
        if isinstance(note, list)
        else []
    )
    return [(key, *rest) for key, value in items for rest in [(), *places(value)]]


def notes_like(ours: Any) -> st.SearchStrategy[bytes]:
    """Bytes, JSON, and our own note with anything at one or two of its places."""
    at_one = st.tuples(st.sampled_from(places(ours)), json_values).map(
        lambda change: changed(ours, *change)
    )
    return st.one_of(st.binary(), json_values.map(lambda value: json.dumps(value).encode()), at_one)


@given(notes_like(OUR_RECORD))
def test_any_record_whatever_is_ours_or_nothing(note: bytes) -> None:
    record, paper = record_in(note)
    if record is None:
        assert len(paper.said) == 1
        return
    job = record.job
    assert (job.series, job.study) == (SERIES, orthanc_id("study"))
    assert job.state in (State.SUCCESS, State.FAILURE)
    # Everything that is done with a record goes well.
    json.dumps(job.as_json(), allow_nan=False)
    record.settles("key", "s")
    assert all(len(instance) == 44 for instance in job.result_instances)
    assert ledger_of(paper).record(job)
    assert ledger_of(paper).read_record(SERIES) is not None


@given(notes_like(OUR_DELIVERIES))
def test_any_deliveries_whatever_are_ours_or_nothing(note: bytes) -> None:
    paper = Paper()
    paper.kept[DELIVERIES] = note
    deliveries = Deliveries(ledger_of(paper))
    deliveries.restore([SERIES])
    assert deliveries.due() == deliveries.running() == deliveries.awaiting_proof() == []
    json.dumps(deliveries.show_all(), allow_nan=False)
    assert {one["Series"] for one in deliveries.show_all()} <= {SERIES}


def picture_of(width: int, height: int) -> bytes:
    """The head of a PNG of that size."""
    return tiny_png()[:16] + struct.pack(">II", width, height) + tiny_png()[24:]


@pytest.mark.parametrize(
    ("picture", "is_ours"),
    [
        (tiny_png(), True),
        (picture_of(2100, 2000), True),
        (picture_of(60_000, 60_000), False),
        (tiny_png()[:20], False),
        (b"", False),
        (b"<script>alert(1)</script>", False),
        (b"GIF89a" + tiny_png(), False),
        (tiny_png() + bytes(16_000_000), False),
    ],
    ids=["ours", "largest", "bomb", "cut short", "empty", "script", "GIF", "long"],
)
def test_only_a_png_of_a_size_like_ours_is_served(picture: bytes, is_ours: bool) -> None:
    paper: Any = Paper()
    write_preview(paper, SERIES, picture)
    paper.kept |= {f"{PICTURE}/data": picture, f"{PICTURE}/size": str(len(picture)).encode()}
    if is_ours:
        assert read_preview(paper, SERIES) == picture
    else:
        with pytest.raises(NotOurs, match="4502"):
            read_preview(paper, SERIES)


def test_no_picture_is_missing() -> None:
    paper: Any = Paper()
    with pytest.raises(Missing):
        read_preview(paper, SERIES)
