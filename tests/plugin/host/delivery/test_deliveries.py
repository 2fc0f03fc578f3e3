"""Whose turn it is and how long a failing destination rests, with an Orthanc on paper."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orthanc_liver.host.delivery.deliveries import Deliveries, Delivery
from orthanc_liver.host.delivery.destinations import Destination, Kind
from orthanc_liver.host.jobs.job import Job, NotAllowed, State
from orthanc_liver.host.jobs.records import StateUnreadable
from orthanc_liver.host.server.api import Missing

PACS = Destination(Kind.MODALITY, "pacs")
WEB = Destination(Kind.DICOM_WEB, "archive")


class Paper:
    """An Orthanc that keeps what is written, and whose change log nobody reads."""

    def __init__(self) -> None:
        self.properties: dict[int, str] = {}
        self.notes: dict[str, bytes] = {}

    def property(self, number: int) -> str:
        return self.properties.get(number, "")

    def set_property(self, number: int, text: str) -> None:
        self.properties[number] = text

    def get_bytes(self, path: str) -> bytes:
        if path not in self.notes:
            raise Missing(path)
        return self.notes[path]

    def put(self, path: str, body: bytes) -> None:
        self.notes[path] = body

    def log_error(self, message: str) -> None:
        pass


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def deliveries(paper: Paper) -> Deliveries:
    return Deliveries(paper)  # type: ignore[arg-type] # as much as is used of one


def add(deliveries: Deliveries, name: str, *destinations: Destination) -> Job:
    job = Job(f"series of {name}", "study", "key")
    deliveries.add(job, [f"rtstruct of {name}", f"seg of {name}"], destinations)
    return job


def due(deliveries: Deliveries) -> list[tuple[str, str]]:
    return [(one.instances[0], one.destination.name) for one in deliveries.due()]


def test_one_at_a_time_for_each_destination(deliveries: Deliveries) -> None:
    for name in "ab":
        add(deliveries, name, PACS, WEB)
    assert due(deliveries) == [("rtstruct of a", "pacs"), ("rtstruct of a", "archive")]
    first = deliveries.due()[0]
    assert first.instances == ("rtstruct of a", "seg of a")
    deliveries.begin(first, "orthanc job")
    assert due(deliveries) == [("rtstruct of a", "archive")]
    deliveries.succeed(first)
    assert due(deliveries) == [("rtstruct of a", "archive"), ("rtstruct of b", "pacs")]


def test_a_failing_destination_rests_longer_each_time_and_others_go_on(
    deliveries: Deliveries,
) -> None:
    add(deliveries, "a", PACS, WEB)
    [one] = [d for d in deliveries.due() if d.destination == PACS]
    waits_s = []
    for _ in range(6):
        deliveries.begin(one, "orthanc job")
        deliveries.fail(one, "why")
        shown = next(d for d in deliveries.show_all() if d["ID"] == one.id)
        assert (shown["State"], shown["Reason"]) == ("Retry", "why")
        then = datetime.fromisoformat(shown["NextAttempt"]).replace(tzinfo=UTC)
        waits_s.append(round((then - datetime.now(UTC)).total_seconds()))
    assert waits_s == [2, 12, 72, 300, 300, 300]
    assert due(deliveries) == [("rtstruct of a", "archive")]


def test_what_is_always_refused_holds_up_nothing_new(deliveries: Deliveries) -> None:
    add(deliveries, "refused", PACS)
    [refused] = deliveries.due()
    for _ in range(4):
        deliveries.fail(refused, "why")
    add(deliveries, "new", WEB)
    other = Job("series of new", "study", "key")
    deliveries.add(other, ["rtstruct of new"], [PACS])
    assert due(deliveries) == [("rtstruct of new", "archive"), ("rtstruct of new", "pacs")]


def test_a_rest_ends_when_somebody_asks(deliveries: Deliveries) -> None:
    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.fail(one, "why")
    add(deliveries, "a", PACS)
    assert deliveries.due() == []
    deliveries.end_rests()
    assert deliveries.due() == [one]


def test_a_destination_that_took_something_need_not_rest(deliveries: Deliveries) -> None:
    for name in "ab":
        add(deliveries, name, PACS)
    [first] = deliveries.due()
    deliveries.fail(first, "why")
    [second] = deliveries.due()
    assert second.instances[0] == "rtstruct of b"
    deliveries.begin(second, "orthanc job")
    deliveries.succeed(second)
    assert deliveries.due() == [first]


def test_the_same_result_is_not_queued_twice_while_it_is_under_way(deliveries: Deliveries) -> None:
    for _ in range(2):
        add(deliveries, "a", PACS)
    assert len(deliveries.show_all()) == 1
    deliveries.succeed(deliveries.due()[0])
    add(deliveries, "a", PACS)
    assert len(deliveries.show_all()) == 2


def test_a_restart_takes_up_what_was_under_way_and_remembers_the_rest(
    deliveries: Deliveries, paper: Paper
) -> None:
    job = add(deliveries, "a", PACS, WEB)
    one, other = deliveries.due()
    deliveries.begin(one, "orthanc job")
    deliveries.succeed(other)
    after = Deliveries(paper)  # type: ignore[arg-type] # see above
    after.restore([job.series, job.series])
    assert after.show_all() == deliveries.show_all()
    assert [d.orthanc_job for d in after.running()] == ["orthanc job"]


def test_killed_between_the_note_on_the_series_and_the_list(
    deliveries: Deliveries, paper: Paper
) -> None:
    job = add(deliveries, "a", PACS)
    before = dict(paper.properties)
    deliveries.succeed(deliveries.due()[0])
    paper.properties = before
    after = Deliveries(paper)  # type: ignore[arg-type] # see above
    after.restore([job.series])
    assert [d["State"] for d in after.show_all()] == ["Success"]


def test_what_was_cancelled_is_over(deliveries: Deliveries) -> None:
    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.cancel(one.id)
    assert not deliveries.begin(one, "orthanc job")
    deliveries.fail(one, "why")
    deliveries.succeed(one)
    assert (one.state, one.reason) == (State.FAILURE, "cancelled")
    with pytest.raises(NotAllowed):
        deliveries.cancel(one.id)
    with pytest.raises(KeyError):
        deliveries.cancel("no such")


def test_a_delivery_survives_being_written_down() -> None:
    one = Delivery("job", "series", ("i", "j"), WEB, attempts=3, reason="why", orthanc_job="o")
    assert Delivery.from_json(one.as_json()) == one


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"ID": 1}]', '"x"', "[[]]"])
def test_a_list_that_is_not_ours_is_left_alone(paper: Paper, text: str) -> None:
    paper.properties[4502] = text
    deliveries = Deliveries(paper)  # type: ignore[arg-type] # see above
    if text == "{}":
        deliveries.restore([])
        return
    with pytest.raises(StateUnreadable, match="4502"):
        deliveries.restore([])


@pytest.mark.parametrize("note", [b"not ours", b"[1]", b"7", b"[" * 5000])
def test_a_note_of_somebody_else_does_no_harm(paper: Paper, note: bytes) -> None:
    paper.notes["/series/series of a/metadata/4503"] = note
    deliveries = Deliveries(paper)  # type: ignore[arg-type] # see above
    deliveries.restore(["series of a"])
    add(deliveries, "a", PACS)
    deliveries.succeed(deliveries.due()[0])
    after: list[dict[str, Any]] = deliveries.show_all()
    assert [d["State"] for d in after] == ["Success"]


def test_closing_ends_a_wait(deliveries: Deliveries) -> None:
    deliveries.close()
    assert not deliveries.wait(60.0)
