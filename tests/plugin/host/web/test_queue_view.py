"""GET /liver/queue: order, places, pages, filters; and what puts a job first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.errors import NotAllowed
from orthanc_liver.host.intake.arriving import Arriving
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import Ledger, ServerState
from orthanc_liver.host.server.api import Missing, Series
from orthanc_liver.host.web.queue_view import queue_asked, queue_view
from orthanc_liver.host.web.request import HttpError
from tests.plugin.host.conftest import Host
from tests.plugin.host.paper import Paper, orthanc_id
from tests.support.patience import wait_for

NOBODY = orthanc_id("nobody")
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def job(name: str, minute: int, **fields: Any) -> Job:
    created = NOON + timedelta(minutes=minute)
    study = fields.pop("study", name)
    return Job(orthanc_id(name), orthanc_id(study), "key", id=name, created=created, **fields)


def ended(name: str, minute: int, outcome: Outcome, **fields: Any) -> Job:
    done = outcome in (Outcome.SEGMENTED, Outcome.NO_LIVER)
    one = job(name, minute, state=State.SUCCESS if done else State.FAILURE, **fields)
    one.outcome, one.completed = outcome, one.created
    return one


def queue_of(*jobs: Job) -> JobQueue:
    paper: Any = Paper()
    queue = JobQueue(10_000, Ledger(paper))
    waiting = [one for one in jobs if not one.completed]
    queue.restore(ServerState(0, waiting, [one for one in jobs if one.completed]))
    return queue


def view_of(queue: JobQueue, **query: str) -> dict[str, Any]:
    def show(jobs: Iterable[Job]) -> list[dict[str, Any]]:
        return [{"ID": one.id} for one in jobs]

    return queue_view(queue.in_order(), queue.finished(), queue_asked(query), show)


def ids(jobs: list[dict[str, Any]]) -> list[str]:
    return [one["ID"] for one in jobs]


def test_waiting_ones_stand_in_the_order_in_which_they_are_taken() -> None:
    queue = queue_of(job("c", 3), job("a", 1), job("old", 0, priority=-100), job("b", 2))
    running = queue.take()
    assert running
    view = view_of(queue)
    assert ids(view["Running"]) == ["a"]
    assert [(one["ID"], one["Place"]) for one in view["Waiting"]["Jobs"]] == [
        ("b", 1),
        ("c", 2),
        ("old", 3),
    ]
    queue.try_again(running, 60.0, "once more")
    assert ids(view_of(queue)["Waiting"]["Jobs"]) == ["b", "c", "old", "a"]  # it rests a minute
    taken = [queue.take() for _ in range(3)]
    assert [one.id for one in taken if one] == ["b", "c", "old"]


@pytest.mark.parametrize("name", ["b", "old", "rests"])
def test_the_next_one_is_the_next(name: str) -> None:
    queue = queue_of(job("a", 1), job("b", 2), job("old", 0, priority=-100), job("rests", 0))
    resting = queue.take()
    assert resting
    queue.try_again(resting, 600.0, "later")
    queue.put_first(name)
    assert queue.in_order()[0].id == name
    queue.put_first(name)  # does not climb any further
    [first] = [one for one in queue.in_order() if one.id == name]
    taken = queue.take()
    assert taken is first
    with pytest.raises(NotAllowed, match="does not wait"):
        queue.put_first(name)


def test_finished_ones_are_the_last_of_each_series_newest_first() -> None:
    again = ended("b again", 5, Outcome.FAILED)
    again.series = orthanc_id("b")
    queue = queue_of(
        ended("a", 3, Outcome.SEGMENTED), ended("b", 1, Outcome.SEGMENTED), again, job("d", 9)
    )
    view = view_of(queue)
    assert ids(view["Finished"]["Jobs"]) == ["b again", "a"]
    assert view["Outcomes"] == {"failed": 1, "segmented": 1}


def test_outcomes_and_studies() -> None:
    doubtful = ended("doubtful", 2, Outcome.SEGMENTED, report={"grade": "doubtful"})
    look = ended("look", 3, Outcome.SEGMENTED, report={"grade": "look"}, study="one")
    queue = queue_of(doubtful, look, ended("gone", 4, Outcome.CANCELLED, study="one"), job("w", 5))
    assert view_of(queue)["Outcomes"] == {"doubtful": 1, "segmented": 1, "cancelled": 1}
    assert ids(view_of(queue, outcome="segmented")["Finished"]["Jobs"]) == ["look"]
    assert ids(view_of(queue, outcome="doubtful")["Finished"]["Jobs"]) == ["doubtful"]
    assert doubtful.as_json()["Content"]["Ending"] == "doubtful"
    view = view_of(queue, study=f"{orthanc_id('one')},{orthanc_id('w')}")
    assert ids(view["Finished"]["Jobs"]) == ["gone", "look"]
    assert ids(view["Waiting"]["Jobs"]) == ["w"]
    assert view_of(queue, study=orthanc_id("none"))["Finished"]["Total"] == 0


def test_pages_of_two_thousand() -> None:
    waiting = [job(f"w{n}", n) for n in range(41)]
    done = [ended(f"f{n}", n, Outcome.SEGMENTED) for n in range(2000)]
    queue = queue_of(*waiting, *done)
    first = view_of(queue)
    assert len(first["Waiting"]["Jobs"]) == len(first["Finished"]["Jobs"]) == 20
    assert (first["Waiting"]["Pages"], first["Finished"]["Pages"]) == (3, 100)
    assert (first["Waiting"]["Total"], first["Finished"]["Total"]) == (41, 2000)
    last = view_of(queue, waiting="3", finished="100")
    assert [(one["ID"], one["Place"]) for one in last["Waiting"]["Jobs"]] == [("w40", 41)]
    assert ids(last["Finished"]["Jobs"])[-1] == "f0"
    beyond = view_of(queue, finished="101")  # a filter made them fewer
    assert beyond["Finished"]["Page"] == 100


@pytest.mark.parametrize(
    "query",
    [
        {"waiting": "0"},
        {"finished": "-1"},
        {"finished": "1e3"},
        {"finished": "1" * 7},
        {"outcome": "well"},
        {"study": "somewhere"},
        {"study": ",".join(orthanc_id(str(n)) for n in range(101))},
    ],
)
def test_what_means_nothing_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(HttpError, match="must be"):
        queue_asked(query)


def test_series_on_their_way_in() -> None:
    class Archive:
        def series(self, series_id: str) -> Series:
            if series_id == "gone":
                raise Missing(series_id)
            tags = {"Modality": "MR" if series_id == "mr" else "CT"}
            return Series(series_id, "study", ("i", "j"), tags, False, NOON)

    archive: Any = Archive()
    arriving = Arriving(archive, "CT")
    for one in ("ct", "gone", "mr", "done"):
        arriving.begin(one)
    arriving.end("done")
    arriving.end("never begun")
    assert arriving.show() == [{"Series": "ct", "Slices": 2}]
    for n in range(250):
        arriving.begin(str(n))
    assert [one["Series"] for one in arriving.show()] == [str(n) for n in range(50, 250)]


def test_in_an_orthanc(host: Host) -> None:
    host.engine.behave("hang", times=1)
    first, second, third = (host.segment(host.upload(f"queued {n}")) for n in range(3))
    host.job_in_engine(first)
    view = host.orthanc.get("/liver/queue")
    assert ids(view["Running"]) == [first]
    assert ids(view["Waiting"]["Jobs"]) == [second, third]
    assert host.orthanc.post(f"/liver/jobs/{third}/next") == {}
    assert ids(host.orthanc.get("/liver/queue")["Waiting"]["Jobs"]) == [third, second]
    host.orthanc.post(f"/liver/jobs/{first}/cancel")
    host.job(second, "Success")
    begun = [host.orthanc.get(f"/liver/jobs/{one}")["StartTime"] for one in (third, second)]
    assert begun == sorted(begun)
    shown = wait_for(
        "what is finished", lambda: host.orthanc.get("/liver/queue")["Finished"]["Jobs"]
    )
    assert {first, second, third} <= {one["ID"] for one in shown}
    status = host.orthanc.call("GET", "/liver/queue?waiting=0").status_code
    assert status == 400
    # As a browser writes it.
    view = host.orthanc.get(f"/liver/queue?outcome=no+liver+found&study={NOBODY}%2C{NOBODY}")
    assert view["Finished"]["Total"] == 0
