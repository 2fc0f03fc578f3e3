"""Results on their way to destinations that a fake Orthanc knows; a real one: test_destinations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.host.delivery import deliveries
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
    why = "Orthanc no longer knows its sending job; sent 3 times: look whether it is there"
    assert {one["Reason"] for one in ended} == {why}
    assert len(host.orthanc.archive.sent) == 6
    assert why in host.orthanc.log()


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
