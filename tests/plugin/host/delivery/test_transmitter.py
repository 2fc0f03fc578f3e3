"""Results on their way to destinations that a fake Orthanc knows; a real one: test_destinations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orthanc_liver.host.delivery import deliveries, transmitter
from orthanc_liver.host.jobs.job import State
from tests.plugin.host.conftest import FakeHost
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.patience import wait_for

DESTINATIONS = [{"Modality": "pacs"}, {"DicomWeb": "archive"}]


def start(folder: Path, **ours: Any) -> FakeHost:
    one = FakeHost(folder, **ours)
    one.orthanc.overrides = {
        **one.orthanc.overrides,
        "DicomModalities": {
            "pacs": ["PACS", "127.0.0.1", 104],
            "scanner": ["SENDER", "127.0.0.1", 104],
        },
        "DicomWeb": {"Servers": {"archive": ["http://127.0.0.1/"]}},
    }
    one.orthanc.start()
    return one


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    one = start(tmp_path, Destinations=DESTINATIONS)
    yield one
    one.orthanc.stop()


def deliveries_in(host: FakeHost, state: str, count: int) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = host.orthanc.get("/liver/deliveries")
        there = len(found) == count and all(one["State"] == state for one in found)
        return found if there else None

    return wait_for(f"{count} deliveries in {state}", look)


def test_what_is_refused_waits_and_goes_when_somebody_asks(host: FakeHost) -> None:
    job = host.ended_job_of(host.upload("refused at first"))
    refused = deliveries_in(host, "Retry", 2)
    assert [one["Destination"] for one in refused] == DESTINATIONS
    assert {one["Reason"] for one in refused} == {"Error in the network protocol"}
    assert all(one["NextAttempt"] for one in refused)
    host.orthanc.archive.takes = {"pacs", "archive"}
    host.orthanc.post(f"/liver/jobs/{job['ID']}/deliver")
    sent = deliveries_in(host, "Success", 2)
    assert [one["ID"] for one in sent] == [one["ID"] for one in refused]
    instance = job["Content"]["Result"]["Instance"]
    taken = [what for to, what in host.orthanc.archive.sent.values()]
    assert taken
    assert all(what == [instance] for what in taken)


def test_what_waits_outlives_a_kill(host: FakeHost) -> None:
    host.ended_job_of(host.upload("killed meanwhile"))
    before = deliveries_in(host, "Retry", 2)
    host.orthanc.kill9()
    host.orthanc.archive.takes = {"pacs", "archive"}
    host.orthanc.start()
    after = deliveries_in(host, "Success", 2)
    assert [one["ID"] for one in after] == [one["ID"] for one in before]


def test_a_deleted_result_is_not_sent_any_more(host: FakeHost) -> None:
    job = host.ended_job_of(host.upload("deleted before it is sent"))
    deliveries_in(host, "Retry", 2)
    host.orthanc.call("DELETE", f"/instances/{job['Content']['Result']['Instance']}")
    lost = deliveries_in(host, "Failure", 2)
    assert {one["Reason"] for one in lost} == {"the result is no longer in Orthanc"}


def test_what_is_deleted_is_told_while_its_destination_rests(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "growing_wait_s", lambda failures: 3600.0)
    monkeypatch.setattr(transmitter, "_LOOKED_AT_ONCE", 3)
    stays = host.ended_job_of(host.upload("waits for an hour"))
    goes = host.ended_job_of(host.upload("deleted within the hour"))
    deliveries_in(host, "Retry", 4)
    host.orthanc.call("DELETE", f"/instances/{goes['Content']['Result']['Instance']}")

    def states(job: dict[str, Any]) -> set[str]:
        every = host.orthanc.get("/liver/deliveries")
        return {one["State"] for one in every if one["Job"] == job["ID"]}

    wait_for("its end", lambda: states(goes) == {"Failure"})
    assert states(stays) == {"Retry"}


def test_of_a_thousand_pictures_that_wait_one_is_looked_for() -> None:
    looked_for: list[str] = []

    def has_instance(instance: str) -> bool:
        looked_for.append(instance)
        return instance != "0"

    pictures = [str(number) for number in range(1000)]
    waits = SimpleNamespace(state=State.PENDING, instances=pictures)
    held = SimpleNamespace(
        running=list, awaiting_proof=list, due=list, unfinished=lambda: [waits], on_change=None
    )
    orthanc: Any = SimpleNamespace(has_instance=has_instance)
    transmitter.Transmitter(orthanc, held, None)._turn()  # type: ignore[arg-type] # on paper
    assert looked_for == ["0", "1"]


def test_of_pictures_what_is_still_there_goes_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "growing_wait_s", lambda failures: 0.0)
    wanted = [{"Modality": "pacs", "Objects": ["SC"]}]
    host = start(tmp_path, Destinations=wanted, Store=["RTSTRUCT", "SC"])
    job = host.ended_job_of(host.upload("one picture is deleted"))
    [waiting] = host.orthanc.get("/liver/deliveries")
    pictures = waiting["Instances"]
    assert pictures == [one["Instance"] for one in job["Content"]["Result"]["Further"]]
    assert len(pictures) == 3
    host.orthanc.call("DELETE", f"/instances/{pictures[0]}")
    sent = host.orthanc.archive.sent
    wait_for("the rest", lambda: [*sent.values()][-1:] == [("pacs", pictures[1:])])
    host.orthanc.archive.takes = {"pacs"}
    deliveries_in(host, "Success", 1)
    host.orthanc.stop()


def test_a_result_goes_back_to_the_sender_of_the_ct(tmp_path: Path) -> None:
    host = start(tmp_path, ReturnToSender=True)
    host.orthanc.archive.takes = {"scanner"}
    ct = small_ct("returned")
    host.orthanc.send(ct)
    [series] = host.orthanc.lookup(ct[0].SeriesInstanceUID)
    job = host.ended_job_of(series["ID"])
    [back] = deliveries_in(host, "Success", 1)
    assert back["Destination"] == {"Sender": "SENDER"}
    assert [to for to, _ in host.orthanc.archive.sent.values()] == ["scanner"]
    assert back["Job"] == job["ID"]
    host.orthanc.stop()


def test_a_sender_whose_name_is_no_ascii_costs_no_job(tmp_path: Path) -> None:
    host = start(tmp_path, ReturnToSender=True)
    ct = small_ct("from Munich")
    stored = [host.orthanc.call("POST", "/instances", to_bytes(one)).json() for one in ct]
    for one in stored:
        host.orthanc.call("PUT", f"/instances/{one['ID']}/metadata/RemoteAET", b"M\xdcNCHEN")
    host.orthanc.settle(stored[0]["ParentSeries"])
    assert host.ended_job_of(stored[0]["ParentSeries"])["State"] == "Success"
    [waiting] = deliveries_in(host, "Retry", 1)
    assert "no modalities of DicomModalities have the sender's AE title" in waiting["Reason"]
    host.orthanc.stop()


def test_what_orthanc_forgets_is_not_sent_for_ever(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "growing_wait_s", lambda failures: 0.0)
    host.orthanc.archive.forgets = True
    host.ended_job_of(host.upload("nobody knows"))
    ended = deliveries_in(host, "Failure", 2)
    why = "Orthanc no longer knows its sending job; sent 3 times: check whether it has arrived"
    assert {one["Reason"] for one in ended} == {why}
    assert len(host.orthanc.archive.sent) == 6
    assert why in host.orthanc.log()


def proving(folder: Path) -> FakeHost:
    host = start(folder, Destinations=[{"Modality": "pacs", "Commitment": True}])
    host.orthanc.archive.takes = {"pacs"}
    return host


def arrived(host: FakeHost, state: str, arrival: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        [one] = host.orthanc.get("/liver/deliveries") or [{}]
        return one if (one.get("State"), one.get("Arrival")) == (state, arrival) else None

    return wait_for(f"{state} and {arrival}", look)


def test_what_is_committed_to_has_arrived_for_certain(tmp_path: Path) -> None:
    host = proving(tmp_path)
    host.orthanc.archive.commits = "Pending"
    host.ended_job_of(host.upload("proved"))
    sent = arrived(host, "Success", "sent")
    assert sent["CompletionTime"] is None
    assert host.orthanc.get("/liver/status")["Arrivals"]["sent"] == 1
    host.orthanc.archive.commits = "Success"
    proved = arrived(host, "Success", "committed")
    assert (proved["ID"], proved["Reason"]) == (sent["ID"], "")
    assert proved["CompletionTime"]
    assert len(host.orthanc.archive.sent) == 1
    host.orthanc.stop()


def test_a_commitment_that_fails_sends_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = proving(tmp_path)
    host.orthanc.archive.commits = "Failure"
    host.ended_job_of(host.upload("lost there"))
    lost = arrived(host, "Retry", "")
    assert lost["Reason"] == "storage not committed: no reason is given"
    host.orthanc.archive.commits = "Success"
    host.orthanc.post(f"/liver/jobs/{lost['Job']}/deliver")
    assert arrived(host, "Success", "committed")["Attempts"] == 2
    host.orthanc.stop()


def test_a_proof_that_orthanc_forgot_is_asked_for_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its end it forgets every transaction."""
    monkeypatch.setattr(deliveries, "growing_wait_s", lambda failures: 0.0)
    host = proving(tmp_path)
    host.orthanc.archive.commits = "Pending"
    host.ended_job_of(host.upload("killed before the proof"))
    arrived(host, "Success", "sent")
    host.orthanc.kill9()
    host.orthanc.archive.commits = ""
    host.orthanc.start()
    unproved = wait_for(
        "the end", lambda: (d := arrived(host, "Success", "sent"))["CompletionTime"] and d
    )
    assert unproved["Reason"].startswith("Orthanc no longer knows whether the destination")
    assert len(host.orthanc.archive.sent) == 3
    host.orthanc.stop()


def test_what_was_rejected_before_its_proof_is_not_sent_again_after_a_kill(tmp_path: Path) -> None:
    host = proving(tmp_path)
    host.orthanc.archive.commits = "Pending"
    series_id = host.upload("rejected, then killed before the proof")
    host.ended_job_of(series_id)
    arrived(host, "Success", "sent")
    rtstruct = host.jobs_of(series_id)[0]["Content"]["Result"]["Instance"]
    asked = {"Verdict": "rejected", "Rtstruct": rtstruct, "By": "Ada", "Reason": "too large"}
    host.orthanc.post(f"/liver/series/{series_id}/decision", asked)
    host.orthanc.kill9()
    host.orthanc.archive.commits = ""
    host.orthanc.start()
    refused = arrived(host, "Failure", "")
    assert refused["Reason"] == "the outline was rejected: too large"
    assert len(host.orthanc.archive.sent) == 1
    host.orthanc.stop()


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_LONGEST_WAIT_FOR_PROOF_S", 0.0)
    host = proving(tmp_path)
    host.orthanc.archive.commits = "Pending"
    host.ended_job_of(host.upload("never answered"))
    unproved = wait_for(
        "the end", lambda: (d := arrived(host, "Success", "sent"))["CompletionTime"] and d
    )
    assert "has not answered" in unproved["Reason"]
    assert len(host.orthanc.archive.sent) == 1
    host.orthanc.stop()


def test_without_a_history_of_jobs_nothing_is_sent_at_all(tmp_path: Path) -> None:
    for ours, problems in (
        ({"Destinations": DESTINATIONS}, 1),
        ({"ReturnToSender": True}, 1),
        ({}, 0),
    ):
        one = FakeHost(tmp_path, **ours)
        one.orthanc.overrides = {**one.orthanc.overrides, "JobsHistorySize": 0}
        with one.orthanc:
            found = one.orthanc.get("/liver/status")["SettingsProblems"]
            assert len(found) == problems
            assert all(problem.startswith("JobsHistorySize must not be 0") for problem in found)
