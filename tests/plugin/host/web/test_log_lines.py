"""One line in the log at the end of every job and for every POST, with the user."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.host.web.request import Request
from tests.plugin.host.conftest import FakeHost, Host
from tests.plugin.host.web.test_routes import NO_JOB
from tests.support.patience import wait_for


def lines_of(host: Host, start: str, *words: str) -> list[str]:
    """What the log says from there on, in the lines that hold all of the words, once it does."""

    def look() -> list[str]:
        lines = host.orthanc.log().splitlines()
        found = [line for line in lines if start in line and all(one in line for one in words)]
        return [start + line.partition(start)[2] for line in found]

    return wait_for(f"{words} in the log", look)


def as_user(name: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{name}:secret'.encode()).decode()}"}


def test_a_job_that_ends_leaves_one_line(host: Host) -> None:
    job = host.ended_job_of(host.upload("one line"))
    [line] = lines_of(host, "job ended:", job["ID"])
    series, seconds = job["Content"]["Series"], job["EffectiveRuntime"]
    assert line == (
        f"job ended: Job={job['ID']} Series={series} Outcome=segmented LiverMl=1500.0 Grade=- "
        f"Seconds={seconds} Attempt=1 Model=scripted Sha256={'a' * 64}"
    )


@pytest.mark.parametrize(
    ("ending", "outcome"), [("refused", "refused"), ("no liver found", '"no liver found"')]
)
def test_whatever_it_came_to(host: Host, ending: Any, outcome: str) -> None:
    host.engine.behave(ending)
    job = host.ended_job_of(host.upload(f"a line of {ending}"))
    [line] = lines_of(host, "job ended:", job["ID"])
    assert f" Outcome={outcome} " in line


def test_a_cancel_tells_who(host: Host) -> None:
    host.engine.behave("hang")
    job_id = host.segment(host.upload("cancelled by somebody"))
    path = f"/liver/jobs/{job_id}/cancel"
    host.orthanc.call("POST", path, headers=as_user("Dr. O'Neil"))
    [line] = lines_of(host, "request:", path)
    assert line == f'request: User="Dr. O\'Neil" Path={path} Status=200'
    [line] = lines_of(host, "job ended:", job_id)
    assert " Outcome=cancelled LiverMl=- " in line


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ({}, "-"),
        ({"Authorization": "Bearer abc"}, "-"),
        (as_user(""), "-"),
        (as_user("physicist"), "physicist"),
        (as_user("x Status=200"), '"x Status=200"'),
        (as_user("x\nrequest: User=root"), '"x\\nrequest"'),
    ],
)
def test_every_post_leaves_one_line_also_where_it_is_refused(
    host: Host, headers: dict[str, str], user: str
) -> None:
    path = f"/liver/jobs/{NO_JOB}/resubmit"
    before = host.orthanc.log().count("request:")
    assert host.orthanc.call("POST", path, headers=headers).status_code == 404
    wait_for("one more line", lambda: host.orthanc.log().count("request:") > before)
    assert lines_of(host, "request:", path)[-1] == f"request: User={user} Path={path} Status=404"
    # A GET, and what no route of ours is, leave none.
    host.orthanc.get("/liver/jobs")
    host.orthanc.call("POST", "/liver/Secret^Patient")
    assert host.orthanc.log().count("request:") == before + 1


@pytest.mark.parametrize("word", ["Basic", "Basic !!!", "Basic /w==", "Basic \u00e4", ""])
def test_a_password_that_is_none_names_nobody(word: str) -> None:
    assert Request((), {"headers": {"Authorization": word}}).user == "-"


def test_as_json_a_program_reads_them(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, LogFormat="json")
    with host.orthanc:
        host.ready()
        job = host.ended_job_of(host.upload("lines of json"))
        path = f"/liver/jobs/{job['ID']}/cancel"
        host.orthanc.call("POST", path, headers=as_user("physicist"))
        [ended] = lines_of(host, '{"Event": "job ended"')
        [asked] = lines_of(host, '{"Event": "request"')
    assert json.loads(ended) == {
        "Event": "job ended",
        "Job": job["ID"],
        "Series": job["Content"]["Series"],
        "Outcome": "segmented",
        "LiverMl": 1500.0,
        "Grade": None,
        "Seconds": job["EffectiveRuntime"],
        "Attempt": 1,
        "Model": "scripted",
        "Sha256": "a" * 64,
    }
    assert json.loads(asked) == {
        "Event": "request",
        "User": "physicist",
        "Path": path,
        "Status": 409,
    }
