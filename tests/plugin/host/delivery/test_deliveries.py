"""Whose turn it is and how long a failing destination rests, with an Orthanc on paper."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orthanc_liver.host.delivery import deliveries as module
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.delivery.destinations import Destination, DestinationKind
from orthanc_liver.host.errors import NotAllowed, UnknownDelivery
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.jobs.records import Ledger
from tests.plugin.host.paper import Paper, orthanc_id

PACS = Destination(DestinationKind.MODALITY, "pacs")
WEB = Destination(DestinationKind.DICOM_WEB, "archive")
ORTHANC_JOB = "5a3c0f0e-0000-4000-8000-00000000000b"


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def deliveries(paper: Paper) -> Deliveries:
    return deliveries_in(paper)


def deliveries_in(paper: Paper) -> Deliveries:
    return Deliveries(Ledger(paper))  # type: ignore[arg-type] # as much as is used of one


def add(
    deliveries: Deliveries, name: str, *destinations: Destination, kinds: str = "rtstruct"
) -> Job:
    job = Job(orthanc_id(f"series of {name}"), orthanc_id("study"), "key")
    send(deliveries, job, name, *destinations, kinds=kinds)
    return job


def send(
    deliveries: Deliveries,
    job: Job,
    name: str,
    *destinations: Destination,
    kinds: str = "rtstruct",
    again: bool = False,
) -> None:
    outline = orthanc_id(f"rtstruct of {name}")
    new = [
        Delivery(job.id, job.series, outline, orthanc_id(f"{kind} of {name}"), kind.upper(), place)
        for place in destinations
        for kind in kinds.split()
    ]
    deliveries.add(job, new, again=again)


def due(deliveries: Deliveries) -> list[tuple[str, str]]:
    return [(one.instance, one.destination.name) for one in deliveries.due()]


def test_one_at_a_time_for_each_destination(deliveries: Deliveries) -> None:
    for name in "ab":
        add(deliveries, name, PACS, WEB)
    assert due(deliveries) == [
        (orthanc_id("rtstruct of a"), "pacs"),
        (orthanc_id("rtstruct of a"), "archive"),
    ]
    first = deliveries.due()[0]
    deliveries.begin(first, ORTHANC_JOB)
    assert due(deliveries) == [(orthanc_id("rtstruct of a"), "archive")]
    deliveries.succeed(first)
    assert due(deliveries) == [
        (orthanc_id("rtstruct of a"), "archive"),
        (orthanc_id("rtstruct of b"), "pacs"),
    ]


def test_a_failing_destination_rests_longer_each_time_and_others_go_on(
    deliveries: Deliveries,
) -> None:
    add(deliveries, "a", PACS, WEB)
    [one] = [d for d in deliveries.due() if d.destination == PACS]
    waits_s = []
    for _ in range(6):
        deliveries.begin(one, ORTHANC_JOB)
        deliveries.fail(one, "why")
        shown = next(d for d in deliveries.show_all() if d["ID"] == one.id)
        assert (shown["State"], shown["Reason"]) == ("Retry", "why")
        then = datetime.fromisoformat(shown["NextAttempt"]).replace(tzinfo=UTC)
        waits_s.append(round((then - datetime.now(UTC)).total_seconds()))
    assert waits_s == [2, 12, 72, 300, 300, 300]
    assert due(deliveries) == [(orthanc_id("rtstruct of a"), "archive")]


def test_what_is_always_refused_holds_up_nothing_new(deliveries: Deliveries) -> None:
    add(deliveries, "refused", PACS)
    [refused] = deliveries.due()
    for _ in range(4):
        deliveries.fail(refused, "why")
    add(deliveries, "new", WEB)
    add(deliveries, "new", PACS)
    assert due(deliveries) == [
        (orthanc_id("rtstruct of new"), "archive"),
        (orthanc_id("rtstruct of new"), "pacs"),
    ]


def test_what_a_destination_never_takes_is_over_and_the_rest_of_the_result_goes(
    deliveries: Deliveries, paper: Paper
) -> None:
    job = add(deliveries, "a", PACS, kinds="rtstruct seg sr")
    for kind in ("rtstruct", "seg", "sr"):
        [one] = deliveries.due()
        assert one.instance == orthanc_id(f"{kind} of a")
        deliveries.begin(one, ORTHANC_JOB)
        if kind == "seg":
            deliveries.never(one, "it does not take SEG")
        else:
            deliveries.succeed(one)
    counted = deliveries.count()
    assert (counted["Success"], counted["Failure"], sum(counted.values())) == (2, 1, 3)
    after = deliveries_in(paper)
    after.restore([job.series])
    for ours in (deliveries, after):
        send(ours, job, "a", PACS, kinds="rtstruct seg sr")
        assert due(ours) == []
    send(after, job, "a", PACS, kinds="seg", again=True)
    assert due(after) == [(orthanc_id("seg of a"), "pacs")]


def test_where_one_object_did_not_arrive_those_of_its_result_wait_with_it(
    deliveries: Deliveries,
) -> None:
    """Else a destination that is down is asked, and rests longer, as often as there are objects."""
    add(deliveries, "a", PACS, kinds="rtstruct seg")
    [rtstruct] = deliveries.due()
    deliveries.fail(rtstruct, "asleep")
    assert due(deliveries) == []
    deliveries.end_rests()
    assert due(deliveries) == [(orthanc_id("seg of a"), "pacs")]


def rejected_while_it_ran(deliveries: Deliveries) -> Delivery:
    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.begin(one, ORTHANC_JOB)
    deliveries.refuse(one.outline, "the outline was rejected")
    assert one.state is State.RUNNING
    return one


def test_what_was_rejected_while_it_ran_is_not_sent_without_proof_instead(
    deliveries: Deliveries,
) -> None:
    one = rejected_while_it_ran(deliveries)
    deliveries.go_without_proof(one)
    assert (one.state, one.reason) == (State.FAILURE, "the outline was rejected")


def test_what_was_rejected_before_its_proof_is_not_sent_again(deliveries: Deliveries) -> None:
    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.begin(one, ORTHANC_JOB)
    deliveries.succeed(one, transaction="2.25.7")
    deliveries.refuse(one.outline, "the outline was rejected")
    assert (one.state, deliveries.awaiting_proof()) == (State.SUCCESS, [one])
    deliveries.fail(one, "storage not committed")
    assert (one.state, one.reason) == (State.FAILURE, "the outline was rejected")
    assert deliveries.awaiting_proof() == deliveries.due() == []


def test_a_rest_ends_when_somebody_asks(deliveries: Deliveries) -> None:
    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.fail(one, "why")
    add(deliveries, "a", PACS)
    assert deliveries.due() == []
    deliveries.end_rests()
    assert deliveries.due() == [one]


def test_a_clock_that_is_set_back_prolongs_no_rest(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TenDaysAgo(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> TenDaysAgo:
            return cls.fromtimestamp(time.time() - 864_000, tz)

    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.fail(one, "why")
    assert deliveries.due() == []
    monkeypatch.setattr(module, "datetime", TenDaysAgo)
    [shown] = deliveries.show_all()
    then = datetime.fromisoformat(shown["NextAttempt"]).replace(tzinfo=UTC)
    wait = then - TenDaysAgo.now(UTC)
    assert timedelta(0) < wait <= timedelta(seconds=2)
    begun_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun_s + 2)
    assert deliveries.due() == [one]


def test_what_is_unknown_is_repeated_twice_over_a_restart_too(
    deliveries: Deliveries, paper: Paper
) -> None:
    job = add(deliveries, "a", PACS)
    for attempt in (1, 2):
        deliveries.end_rests()
        [one] = deliveries.due()
        deliveries.begin(one, ORTHANC_JOB)
        deliveries.lose_track(one)
        assert (one.state, one.attempts) == (State.RETRY, attempt)
        deliveries = deliveries_in(paper)
        deliveries.restore([job.series])
    [one] = deliveries.due()
    deliveries.begin(one, ORTHANC_JOB)
    deliveries.lose_track(one)
    assert one.state is State.FAILURE
    assert one.reason.endswith("sent 3 times: check whether it has arrived")


def test_a_destination_that_took_something_need_not_rest(deliveries: Deliveries) -> None:
    for name in "ab":
        add(deliveries, name, PACS)
    [first] = deliveries.due()
    deliveries.fail(first, "why")
    [second] = deliveries.due()
    assert second.instance == orthanc_id("rtstruct of b")
    deliveries.begin(second, ORTHANC_JOB)
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
    deliveries.begin(one, ORTHANC_JOB)
    deliveries.succeed(other)
    after = deliveries_in(paper)
    after.restore([job.series, job.series])
    assert after.show_all() == deliveries.show_all()
    assert [d.orthanc_job for d in after.running()] == [ORTHANC_JOB]


def test_killed_between_the_note_on_the_series_and_the_list(
    deliveries: Deliveries, paper: Paper
) -> None:
    job = add(deliveries, "a", PACS)
    before = dict(paper.properties)
    deliveries.succeed(deliveries.due()[0])
    paper.properties = before
    after = deliveries_in(paper)
    after.restore([job.series])
    assert [d["State"] for d in after.show_all()] == ["Success"]


def test_what_was_cancelled_is_over(deliveries: Deliveries) -> None:
    add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.cancel(one.id)
    assert not deliveries.begin(one, ORTHANC_JOB)
    deliveries.fail(one, "why")
    deliveries.succeed(one)
    assert (one.state, one.reason) == (State.FAILURE, "cancelled")
    with pytest.raises(NotAllowed):
        deliveries.cancel(one.id)
    with pytest.raises(UnknownDelivery):
        deliveries.cancel("no such")


def test_what_has_arrived_is_sent_again_to_who_asks_only(deliveries: Deliveries) -> None:
    job = add(deliveries, "a", PACS)
    [one] = deliveries.due()
    deliveries.succeed(one)
    send(deliveries, job, "a", PACS, WEB)
    assert due(deliveries) == [(one.instance, "archive")]
    send(deliveries, job, "a", PACS, WEB, again=True)
    assert {place for _, place in due(deliveries)} == {"archive", "pacs"}
    assert deliveries.count()["Pending"] == 2


def test_whoever_sends_hears_of_what_there_is_to_send(deliveries: Deliveries) -> None:
    heard = []
    deliveries.on_change = lambda: heard.append(len(deliveries.due()))
    add(deliveries, "a", PACS)
    assert heard == [1]
    deliveries.fail(deliveries.due()[0], "asleep")
    deliveries.end_rests()
    assert heard == [1, 0, 1]


def test_pictures_go_together_and_one_by_one_where_some_are_there(
    deliveries: Deliveries, paper: Paper
) -> None:
    job = Job(orthanc_id("series"), orthanc_id("study"), "key")
    pictures = [orthanc_id(f"picture {number}") for number in range(3)]
    first, *others = pictures
    outline = orthanc_id("rtstruct")
    whole = Delivery(job.id, job.series, outline, first, "SC", PACS, others=tuple(others))
    deliveries.add(job, [whole], again=False)
    after = deliveries_in(paper)
    after.restore([job.series])
    [one] = after.due()
    assert one.instances == pictures
    after.begin(one, ORTHANC_JOB)
    after.go_one_by_one(one)
    gone = []
    for _ in pictures:
        [one] = after.due()
        gone.append(one.instances)
        after.begin(one, ORTHANC_JOB)
        after.succeed(one)
    assert sorted(gone) == sorted([picture] for picture in pictures)
    assert after.due() == []
    assert after.count()["Success"] == 3
