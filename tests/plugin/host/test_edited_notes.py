"""Somebody with REST write access edits the plugin's notes on a real Orthanc."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugin.host.conftest import Host, error_of
from tests.plugin.host.series import small_ct
from tests.support.orthanc_server import OrthancServer, free_port
from tests.support.patience import wait_for
from tests.support.scripted_engine import tiny_png

SHUTDOWN = "../../tools/shutdown?x="


@pytest.fixture(scope="module")
def edited_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """An Orthanc that segments when somebody asks, and may send to itself."""
    folder = tmp_path_factory.mktemp("edited")
    store = ["RTSTRUCT", "SEG"]
    host = Host(folder, Automatic=False, Store=store, Destinations=[{"Modality": "self"}])
    port = free_port()
    modalities = {"self": ["ORTHANC", "127.0.0.1", port]}
    overrides = {**host.orthanc.overrides, "DicomModalities": modalities}
    host.orthanc = OrthancServer(folder, overrides, dicom_port=port)
    with host.orthanc.until_killed():
        host.ready()
        yield host
    assert "Secret" not in host.orthanc.log()


@pytest.fixture
def host(edited_host: Host) -> Iterator[Host]:
    with edited_host.left_as_it_was():
        yield edited_host


def segmented(host: Host, name: str) -> tuple[str, dict[str, Any]]:
    """A series and its job, when the result has been sent."""
    series_id = host.upload(name)
    host.stable(series_id)
    job_id = host.segment(series_id)
    host.job(job_id, "Success")

    def sent() -> dict[str, Any] | None:
        job: dict[str, Any] = host.orthanc.get(f"/liver/jobs/{job_id}")
        states = [one["State"] for one in job["Content"]["Deliveries"]]
        return job if set(states) == {"Success"} else None

    return series_id, wait_for("the delivery", sent)


def note_on(host: Host, series_id: str, number: int) -> Any:
    return host.orthanc.get(f"/series/{series_id}/metadata/{number}")


def write_note(host: Host, series_id: str, number: int, note: Any) -> None:
    path = f"/series/{series_id}/metadata/{number}"
    assert host.orthanc.call("PUT", path, json.dumps(note).encode()).status_code == 200


def log_tells(host: Host, series_id: str, number: int) -> int:
    """How often the log says that the note is not ours."""
    return host.orthanc.log().count(f"metadata {number} of {series_id} is not ours")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ID", SHUTDOWN),
        ("State", "Pending"),
        ("Priority", "high"),
        ("Model", 7),
        ("Result", {"Instance": SHUTDOWN}),
        ("Report", "x"),
    ],
)
def test_an_edited_record_is_as_good_as_none(host: Host, key: str, value: Any) -> None:
    series_id, former = segmented(host, f"edited {key}")
    note = note_on(host, series_id, 4501)
    note["Job"][key] = value
    write_note(host, series_id, 4501, note)
    # Not the note's job, but a new one; and what it says is the plugin's own.
    job_id = host.segment(series_id)
    assert job_id not in (former["ID"], SHUTDOWN)
    host.job(job_id, "Success")
    assert note_on(host, series_id, 4501)["Job"]["ID"] == job_id
    assert log_tells(host, series_id, 4501) == 1
    assert "shutdown" not in json.dumps(host.orthanc.get("/liver/jobs?expand"))
    assert host.orthanc.get("/liver/status")["Engine"] == "ready"


def test_no_record_brings_a_series_past_the_filter(host: Host) -> None:
    """The job in the note names a series that the settings do not admit, to be resubmitted."""
    host.engine.behave("refused")
    series_id = host.upload("past the filter")
    host.stable(series_id)
    former = host.job(host.segment(series_id), "Failure")
    mr = host.upload("not to be segmented", modality="MR")
    note = note_on(host, series_id, 4501)
    note["Job"] |= {"ID": "5a3c0f0e-0000-4000-8000-00000000000b", "Series": mr}
    write_note(host, series_id, 4501, note)
    job_id = host.segment(series_id)
    assert job_id not in (former["ID"], note["Job"]["ID"])
    answer = host.orthanc.call("POST", f"/liver/jobs/{note['Job']['ID']}/resubmit")
    assert error_of(answer) == (404, "there is no such job")
    host.idle()
    assert host.jobs_of(mr) == []


ANOTHER = "5a3c0f0e-0000-4000-8000-00000000000c"


@pytest.mark.parametrize(
    ("number", "part", "edit"),
    [
        (4501, "Job", {"State": "Pending"}),
        (4501, "Job", {"Attempt": "often", "Result": 7}),
        (4503, "Deliveries", {"State": "Pending", "ID": ANOTHER}),
        (4503, "Deliveries", {"Attempts": "often", "Destination": 7}),
    ],
)
def test_no_edit_is_taken_up_by_a_restart_or_ends_a_thread(
    host: Host, number: int, part: str, edit: dict[str, Any]
) -> None:
    """A pending delivery of a foreign instance is not sent, a pending job not run."""
    victim, _ = segmented(host, f"not to be sent {number} {list(edit)}")
    secret = host.orthanc.get(f"/series/{victim}")["Instances"][0]
    series_id, job = segmented(host, f"before a restart {number} {list(edit)}")
    note = note_on(host, series_id, number)
    edited = note[part] if part == "Job" else note[part][0]
    edited |= edit | ({"Instances": [secret]} if part == "Deliveries" else {})
    write_note(host, series_id, number, note)
    host.orthanc.restart()
    host.ready()
    later, _ = segmented(host, f"after {number} {list(edit)}")  # so worker and transmitter live
    assert log_tells(host, series_id, number) == 1
    known = [one["ID"] for one in host.jobs_of(series_id)]
    assert known == ([job["ID"]] if number == 4503 else [])
    assert secret not in json.dumps(host.orthanc.get("/liver/deliveries"))
    assert secret not in json.dumps(host.orthanc.get("/jobs?expand"))
    waiting = host.orthanc.get("/liver/status")["Deliveries"]
    assert waiting["Pending"] == waiting["Running"] == waiting["Retry"] == 0
    assert host.jobs_of(later)[0]["State"] == "Success"


def test_sending_again_sends_results_only(host: Host) -> None:
    """A note in which all is well, but for whose instance it names."""
    victim, _ = segmented(host, "somebody else")
    secret = host.orthanc.get(f"/series/{victim}")["Instances"][0]
    series_id, job = segmented(host, "sent again")
    note = note_on(host, series_id, 4501)
    note["Job"]["Result"]["Instance"] = secret
    write_note(host, series_id, 4501, note)
    host.orthanc.restart()
    host.ready()
    assert host.orthanc.get(f"/liver/jobs/{job['ID']}")["Content"]["Result"]["Instance"] == secret
    answer = host.orthanc.call("POST", f"/liver/jobs/{job['ID']}/deliver")
    assert error_of(answer) == (409, "the job has no result that could be sent")
    assert secret not in json.dumps(host.orthanc.get("/liver/deliveries"))


def test_a_slice_that_came_and_went_leaves_no_object_marked(host: Host) -> None:
    """The former RTSTRUCT and SEG stand again, and neither says that it is superseded."""
    ct = small_ct("came and went", slices=7)
    series_id = host.store(ct[:-1])
    host.stable(series_id)
    first = host.job(host.segment(series_id), "Success")["Content"]["Result"]
    host.store(ct[-1:])
    host.job(host.segment(series_id), "Success")
    uid = host.orthanc.lookup(ct[-1].SOPInstanceUID)[0]["ID"]
    host.orthanc.call("DELETE", f"/instances/{uid}")
    again = host.job(host.segment(series_id), "Success")["Content"]["Result"]
    assert again["Instance"] == first["Instance"]
    for one in [again, *again["Further"]]:
        path = f"/instances/{one['Instance']}/metadata/4504"
        assert host.orthanc.call("GET", path).status_code == 404


def test_a_picture_that_is_none_is_not_served(host: Host) -> None:
    series_id, _ = segmented(host, "another picture")
    path = f"/series/{series_id}/attachments/4502"
    for picture in (b"<script>alert(1)</script>", tiny_png()[:20], tiny_png() + bytes(17_000_000)):
        assert host.orthanc.call("PUT", path, picture).status_code == 200
        answer = host.orthanc.call("GET", f"/liver/series/{series_id}/preview")
        status, message = error_of(answer)
        assert status == 404
        assert "attachment 4502" in message
