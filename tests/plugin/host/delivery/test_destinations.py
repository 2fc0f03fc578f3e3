"""Results reach a second real Orthanc that is down, comes up, refuses and accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.host.conftest import Host, error_of
from tests.plugin.host.series import small_ct
from tests.support.orthanc_server import OrthancServer, free_port, merged
from tests.support.patience import wait_for

PLAIN: dict[str, Any] = {
    "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
    "PythonScript": None,
    "DicomAet": "OTHER",
}
REFUSING = PLAIN | {
    "DicomAlwaysAllowStore": False,
    "AuthenticationEnabled": True,
    "RegisteredUsers": {"somebody": "else"},
}
DESTINATIONS = [{"Modality": "pacs"}, {"DicomWeb": "archive"}]


def other_orthanc(folder: Path) -> OrthancServer:
    return OrthancServer(folder, PLAIN, http_port=free_port(), dicom_port=free_port())


def sending_host(folder: Path, other: OrthancServer, **ours: Any) -> Host:
    host = Host(folder, **ours)
    host.orthanc.overrides = merged(
        host.orthanc.overrides,
        {
            "DicomModalities": {
                "pacs": ["OTHER", "127.0.0.1", other.dicom_port],
                "scanner": ["SENDER", "127.0.0.1", other.dicom_port],
            },
            "DicomWeb": {"Servers": {"archive": [f"{other.url}/dicom-web/"]}},
        },
    )
    return host


def deliveries_of(host: Host, job_id: str) -> list[dict[str, Any]]:
    content = host.orthanc.get(f"/liver/jobs/{job_id}")["Content"]
    return list(content["Deliveries"])


def all_in(host: Host, job_id: str, state: str, attempts: int = 0) -> list[dict[str, Any]]:
    """The job's deliveries as soon as every one is in a state after so many attempts."""

    def look() -> list[dict[str, Any]] | None:
        found = deliveries_of(host, job_id)
        there = all(d["State"] == state and d["Attempts"] >= attempts for d in found)
        return found if found and there else None

    return wait_for(f"deliveries in {state}", look, 40.0)


def test_an_orthanc_without_a_history_forgets_what_it_sent(tmp_path: Path) -> None:
    other = other_orthanc(tmp_path / "other")
    other.http_port, other.dicom_port = other._wanted_ports
    host = sending_host(tmp_path / "host", other, Destinations=DESTINATIONS)
    host.orthanc.overrides = {**host.orthanc.overrides, "JobsHistorySize": 0}
    with host.orthanc.until_killed():
        series_id = host.upload("sent by hand")
        sending = {"Resources": [series_id], "Asynchronous": True}
        job = host.orthanc.post("/modalities/pacs/store", sending)["ID"]
        wait_for(
            "its end", lambda: host.orthanc.call("GET", f"/jobs/{job}").status_code == 404, 40.0
        )
        [problem] = host.orthanc.get("/liver/status")["SettingsProblems"]
        assert problem.startswith("JobsHistorySize must not be 0")


def test_down_refusing_and_back(tmp_path: Path) -> None:
    other = other_orthanc(tmp_path / "other")
    other.http_port, other.dicom_port = other._wanted_ports
    host = sending_host(tmp_path / "host", other, Destinations=DESTINATIONS)
    with host.orthanc.until_killed():
        job = host.ended_job_of(host.upload("sent on"))
        assert job["State"] == "Success"
        down = all_in(host, job["ID"], "Retry", attempts=1)
        assert [d["Destination"] for d in down] == DESTINATIONS
        assert all(d["Reason"] and d["NextAttempt"] for d in down)
        assert host.orthanc.get("/liver/status")["Deliveries"]["Retry"] == 2
        assert f"did not reach pacs: {down[0]['Reason']}" in host.orthanc.log()

        other.overrides = REFUSING
        other.start()
        host.orthanc.post(f"/liver/jobs/{job['ID']}/deliver")
        tried = max(d["Attempts"] for d in down)
        refused = all_in(host, job["ID"], "Retry", attempts=tried + 1)
        assert [d["ID"] for d in refused] == [d["ID"] for d in down]

        host.orthanc.kill9()
        other.kill9()
        other.overrides = PLAIN
        other.start()
        assert other.get("/instances") == []
        host.orthanc.start()
        sent = all_in(host, job["ID"], "Success")
        assert [d["ID"] for d in sent] == [d["ID"] for d in down]
        assert all(d["CompletionTime"] and not d["Reason"] for d in sent)
        assert all(d["Attempts"] > tried for d in sent)
        [found] = other.lookup(job["Content"]["Result"]["SopInstanceUid"])
        assert found["Type"] == "Instance"
        assert len(other.get("/instances")) == 1

        host.orthanc.kill9()
        host.orthanc.start()
        wait_for("the job", lambda: job["ID"] in host.orthanc.get("/liver/jobs"))
        assert deliveries_of(host, job["ID"]) == sent
        other.kill9()


@pytest.fixture(scope="module")
def accepting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    other = other_orthanc(tmp_path_factory.mktemp("accepting"))
    with other.until_killed():
        yield other


@pytest.fixture(scope="module")
def returning(tmp_path_factory: pytest.TempPathFactory, accepting: OrthancServer) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("returning")
    unknown = [{"Modality": "nowhere"}]
    host = sending_host(folder, accepting, Destinations=unknown, ReturnToSender=True)
    with host.orthanc.until_killed():
        host.ready()
        yield host


def test_a_result_goes_back_to_the_sender_of_the_ct(
    returning: Host, accepting: OrthancServer
) -> None:
    ct = small_ct("returned")
    returning.orthanc.send(ct)
    [series] = returning.orthanc.lookup(ct[0].SeriesInstanceUID)
    job = returning.ended_job_of(series["ID"])
    uid = job["Content"]["Result"]["SopInstanceUid"]
    wait_for("the result", lambda: accepting.lookup(uid))
    _, back = wait_for(
        "its end",
        lambda: (d := deliveries_of(returning, job["ID"]))[1]["State"] == "Success" and d,
    )
    assert back["Destination"] == {"Sender": "SENDER"}
    assert accepting.lookup(ct[0].SOPInstanceUID) == []


def test_a_ct_that_came_by_http_has_no_sender(returning: Host) -> None:
    job = returning.ended_job_of(returning.upload("by http"))
    assert [d["Destination"] for d in deliveries_of(returning, job["ID"])] == [
        {"Modality": "nowhere"}
    ]


def test_an_unknown_destination_is_told_and_can_be_given_up(returning: Host) -> None:
    job = returning.ended_job_of(returning.upload("to nowhere"))
    [lost] = all_in(returning, job["ID"], "Retry", attempts=1)
    assert lost["Reason"] == "Orthanc has no modality 'nowhere' in DicomModalities"
    assert returning.orthanc.post(f"/liver/deliveries/{lost['ID']}/cancel") == {}
    [lost] = deliveries_of(returning, job["ID"])
    assert (lost["State"], lost["Reason"]) == ("Failure", "cancelled")
    answer = returning.orthanc.call("POST", f"/liver/deliveries/{lost['ID']}/cancel")
    assert error_of(answer)[0] == 409


def test_a_modality_that_is_added_later_gets_what_waited(
    returning: Host, accepting: OrthancServer
) -> None:
    job = returning.ended_job_of(returning.upload("nowhere becomes somewhere"))
    all_in(returning, job["ID"], "Retry", attempts=1)
    modality = f'["OTHER", "127.0.0.1", {accepting.dicom_port}]'.encode()
    returning.orthanc.call("PUT", "/modalities/nowhere", modality).raise_for_status()
    returning.orthanc.post(f"/liver/jobs/{job['ID']}/deliver")
    all_in(returning, job["ID"], "Success")
    assert accepting.lookup(job["Content"]["Result"]["SopInstanceUid"])
    returning.orthanc.call("DELETE", "/modalities/nowhere").raise_for_status()


def test_a_deleted_result_is_not_sent_any_more(tmp_path: Path) -> None:
    host = Host(tmp_path, Destinations=[{"Modality": "nowhere"}])
    with host.orthanc.until_killed():
        job = host.ended_job_of(host.upload("deleted before it is sent"))
        all_in(host, job["ID"], "Retry", attempts=1)
        instance = job["Content"]["Result"]["Instance"]
        host.orthanc.call("DELETE", f"/instances/{instance}").raise_for_status()
        [lost] = all_in(host, job["ID"], "Failure")
        assert lost["Reason"] == "the result is no longer in Orthanc"


def test_a_job_without_a_result_cannot_be_sent(returning: Host) -> None:
    returning.engine.behave("no liver found")
    job = returning.ended_job_of(returning.upload("nothing to send"))
    returning.engine.behave()
    answer = returning.orthanc.call("POST", f"/liver/jobs/{job['ID']}/deliver")
    assert error_of(answer) == (409, "the job has no result that could be sent")
