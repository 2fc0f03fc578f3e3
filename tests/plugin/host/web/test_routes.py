"""Every REST route, on a fake Orthanc and on a real one."""

from __future__ import annotations

import json
import re
from unittest.mock import Mock

import pytest

from orthanc_liver import __version__
from orthanc_liver.host.web import routes
from tests.plugin.host.conftest import Host, error_of, only_real
from tests.support.patience import wait_for

NO_RESOURCE = "00000000-00000000-00000000-00000000-00000000"
NO_JOB = "00000000-0000-0000-0000-000000000000"


def every_route() -> list[tuple[str, str]]:
    """Method and path of every route, from the code's own table: none can be forgotten here."""
    table = routes.Routes(Mock())._table
    paths = [(method, pattern.pattern) for method, pattern, _ in table]
    filled = [
        (method, path.replace(routes._RESOURCE, NO_RESOURCE).replace(routes._JOB, NO_JOB))
        for method, path in paths
    ]
    assert not any(set("([?*+") & set(path) for _, path in filled), "a pattern is not filled in"
    return [(method, f"/liver/{path}") for method, path in filled]


def test_status(host: Host) -> None:
    host.idle()
    status = host.orthanc.get("/liver/status")
    assert status["Version"] == __version__
    assert status["Model"] == {"Name": "scripted", "Sha256": "a" * 64}
    assert status["Device"] == "cpu"
    assert status["Automatic"] is True
    assert status["SettingsProblems"] == []
    assert (status["Queue"]["Running"], status["Queue"]["Pending"]) == (0, 0)


@only_real
def test_a_job_looks_like_one_of_orthancs_own(host: Host) -> None:
    series_id = host.upload("own shape")
    ours = host.ended_job_of(series_id)
    archive = host.orthanc.post(f"/series/{series_id}/archive", {"Asynchronous": True})
    theirs = wait_for(
        "Orthanc's own job",
        lambda: (j := host.orthanc.get(archive["Path"]))["State"] == "Success" and j,
    )
    # "Timestamp" and the like included; Orthanc's StartTime is not shown by this version.
    assert set(theirs) <= set(ours)
    for key, value in theirs.items():
        assert type(ours[key]) is type(value), key
    assert set(archive) == {"ID", "Path"}


def test_segment_series_answers_with_the_job_and_a_second_time_with_the_same(host: Host) -> None:
    series_id = host.upload("asked for")
    first = host.orthanc.post(f"/liver/series/{series_id}/segment")
    path = f"/liver/jobs/{first['ID']}"
    assert first == {"ID": first["ID"], "Path": path, "IsDone": False}
    job = host.ended_job_of(series_id)
    assert job["ID"] == first["ID"]
    again = host.orthanc.post(f"/liver/series/{series_id}/segment", {"Force": False})
    assert again == first | {"IsDone": True}
    assert first["ID"] in host.orthanc.get("/liver/jobs")
    assert len(host.jobs_of(series_id)) == 1


def test_force_runs_again_and_stores_nothing_twice(host: Host) -> None:
    series_id = host.upload("forced")
    first = host.ended_job_of(series_id)
    forced = host.job(host.segment(series_id, Force=True), "Success")
    assert forced["ID"] != first["ID"]
    assert forced["Content"]["Force"] is True
    assert forced["Content"]["Result"] == first["Content"]["Result"]
    assert len(host.rtstructs_beside(series_id)) == 1


def test_a_deleted_result_is_made_again_when_somebody_asks(host: Host) -> None:
    series_id = host.upload("result deleted")
    first = host.ended_job_of(series_id)
    host.orthanc.call("DELETE", f"/instances/{first['Content']['Result']['Instance']}")
    second = host.job(host.segment(series_id), "Success")
    assert second["ID"] != first["ID"]
    assert host.rtstructs_beside(series_id) == [first["Content"]["Result"]["Instance"]]


def test_segment_study_takes_what_the_filter_admits(host: Host) -> None:
    series_id = host.upload("a whole study")
    host.ended_job_of(series_id)
    study_id = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    assert len(host.orthanc.get(f"/studies/{study_id}")["Series"]) == 2  # CT and RTSTRUCT
    answer = host.orthanc.post(f"/liver/studies/{study_id}/segment", {"Force": True})
    assert [set(one) for one in answer] == [{"ID", "Path", "IsDone"}]
    assert host.job(answer[0]["ID"], "Success")["Content"]["Series"] == series_id
    mr = host.upload("a study of mr", modality="MR")
    study_id = host.orthanc.get(f"/series/{mr}")["ParentStudy"]
    assert host.orthanc.post(f"/liver/studies/{study_id}/segment") == []


def test_a_series_that_the_filter_does_not_admit_is_refused(host: Host) -> None:
    mr = host.upload("mr asked for", modality="MR")
    answer = host.orthanc.call("POST", f"/liver/series/{mr}/segment")
    assert error_of(answer) == (400, "the series is not of modality CT")
    few = host.upload("few asked for", slices=4)
    answer = host.orthanc.call("POST", f"/liver/series/{few}/segment")
    assert error_of(answer) == (400, "the series has 4 instances, fewer than MinimumSlices, 5")
    scout = host.upload("scout asked for", description="scout")
    status, message = error_of(host.orthanc.call("POST", f"/liver/series/{scout}/segment"))
    assert status == 400
    assert "SeriesDescription" in message


@pytest.mark.parametrize("page", ["app", f"series/{NO_RESOURCE}/review"])
def test_a_page_comes_whole_and_into_no_foreign_frame(host: Host, page: str) -> None:
    for path in (f"/liver/{page}", f"/liver/{page}/"):
        answer = host.orthanc.call("GET", path)
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
        assert "function decided(" in answer.text  # what both pages share
        assert not re.search(r"<!-- (script|style)|<script src|<link rel=.stylesheet", answer.text)


def test_jobs_lists_ids_and_with_expand_objects(host: Host) -> None:
    job_id = host.ended_job_of(host.upload("listed"))["ID"]
    assert job_id in host.orthanc.get("/liver/jobs")
    expanded = host.orthanc.get("/liver/jobs?expand")
    assert [one["ID"] for one in expanded] == host.orthanc.get("/liver/jobs")


def test_jobs_lists_those_of_one_series_or_study(host: Host) -> None:
    one, other = (host.ended_job_of(host.upload(f"one of {n}")) for n in "ab")
    series_id, study_id = one["Content"]["Series"], one["Content"]["Study"]
    assert host.orthanc.get(f"/liver/jobs?series={series_id}") == [one["ID"]]
    [shown] = host.orthanc.get(f"/liver/jobs?expand&study={study_id}")
    assert shown["ID"] == one["ID"] != other["ID"]
    assert host.orthanc.get(f"/liver/jobs?series={NO_RESOURCE}") == []
    for nobody in ("series=", "study=somebody"):
        answer = host.orthanc.call("GET", f"/liver/jobs?{nobody}")
        assert error_of(answer)[0] == 400


def test_the_preview_is_a_png_on_the_series(host: Host) -> None:
    series_id = host.upload("previewed")
    answer = host.orthanc.call("GET", f"/liver/series/{series_id}/preview")
    assert error_of(answer)[0] == 404
    host.ended_job_of(series_id)
    answer = host.orthanc.call("GET", f"/liver/series/{series_id}/preview")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG\r\n")


def test_progress_shows_while_a_job_runs_and_never_goes_back(host: Host) -> None:
    host.engine.behave(seconds=1.0)
    series_id = host.upload("progress")
    job_id = host.segment(series_id)
    seen = []

    def look() -> bool:
        job = host.orthanc.get(f"/liver/jobs/{job_id}")
        seen.append(job["Progress"])
        return bool(job["State"] == "Success")

    wait_for("success", look)
    assert seen == sorted(seen)
    assert len(set(seen)) > 4
    assert all(isinstance(one, int) for one in seen)
    assert seen[-1] == 100


def test_a_running_job_can_be_cancelled_and_resubmitted(host: Host) -> None:
    host.engine.behave("hang", times=1)
    series_id = host.upload("cancelled while running")
    job = host.job_in_engine(host.segment(series_id))
    before = host.engine.alive()
    assert host.orthanc.post(f"/liver/jobs/{job['ID']}/cancel") == {}
    cancelled = host.orthanc.get(f"/liver/jobs/{job['ID']}")
    assert (cancelled["State"], cancelled["Content"]["Outcome"]) == ("Failure", "cancelled")
    # At once, not when JobTimeoutSeconds are over.
    wait_for("the process is gone", lambda: not set(before) & set(host.engine.alive()), 2.5)
    assert host.rtstructs_beside(series_id) == []
    assert host.orthanc.post(f"/liver/jobs/{job['ID']}/resubmit") == {}
    assert host.job(job["ID"], "Success")["Content"]["Outcome"] == "segmented"
    assert len(host.rtstructs_beside(series_id)) == 1


def test_a_pending_job_can_be_cancelled(host: Host) -> None:
    host.engine.behave("hang", times=1)
    running = host.job_in_engine(host.segment(host.upload("runs first")))
    jobs = len(host.engine.jobs())
    waiting_series = host.upload("waits")
    waiting = host.segment(waiting_series)
    assert host.orthanc.get(f"/liver/jobs/{waiting}")["State"] == "Pending"
    host.orthanc.post(f"/liver/jobs/{waiting}/cancel")
    host.orthanc.post(f"/liver/jobs/{running['ID']}/cancel")
    # It stays cancelled when the series becomes stable.
    host.stable(waiting_series)
    host.ended_job_of(host.upload("runs later"))
    assert len(host.jobs_of(waiting_series)) == 1
    assert host.rtstructs_beside(waiting_series) == []
    assert len(host.engine.jobs()) == jobs + 1


def test_what_does_not_fit_a_jobs_state_is_refused(host: Host) -> None:
    job_id = host.ended_job_of(host.upload("success is final"))["ID"]
    assert error_of(host.orthanc.call("POST", f"/liver/jobs/{job_id}/cancel"))[0] == 409
    status, message = error_of(host.orthanc.call("POST", f"/liver/jobs/{job_id}/resubmit"))
    assert status == 409
    assert message == "a job in state Success cannot resubmit"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/liver/nothing"),
        ("GET", "/liver/status/more"),
        ("GET", "/liver/jobs/nothing"),
        ("GET", f"/liver/jobs/{NO_JOB}"),
        ("POST", f"/liver/jobs/{NO_JOB}/cancel"),
        ("POST", f"/liver/jobs/{NO_JOB}/resubmit"),
        ("POST", f"/liver/series/{NO_RESOURCE}/segment"),
        ("POST", f"/liver/studies/{NO_RESOURCE}/segment"),
        ("GET", f"/liver/series/{NO_RESOURCE}/preview"),
        ("POST", "/liver/series/somewhere/segment"),
        ("POST", f"/liver/series/{NO_RESOURCE}%2F..%2F/segment"),
    ],
)
def test_unknown_things_are_404(host: Host, method: str, path: str) -> None:
    assert error_of(host.orthanc.call(method, path))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/liver/status", "GET"),
        ("PUT", "/liver/jobs", "GET"),
        ("DELETE", f"/liver/jobs/{NO_JOB}", "GET"),
        ("GET", f"/liver/jobs/{NO_JOB}/cancel", "POST"),
        ("GET", f"/liver/jobs/{NO_JOB}/resubmit", "POST"),
        ("GET", f"/liver/series/{NO_RESOURCE}/segment", "POST"),
        ("PUT", f"/liver/studies/{NO_RESOURCE}/segment", "POST"),
        ("DELETE", f"/liver/series/{NO_RESOURCE}/preview", "GET"),
    ],
)
def test_wrong_methods_are_405(host: Host, method: str, path: str, allowed: str) -> None:
    answer = host.orthanc.call(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"Force"',
        b'{"Force": 1}',
        b'{"force": true}',
        b'{"Force": true, "Interpreter": "/bin/sh"}',
        b"\xff\xfe",
        json.dumps({"Force": True, "Padding": "x" * 5000}).encode(),
    ],
)
def test_bad_bodies_are_400(host: Host, body: bytes) -> None:
    series_id = host.upload("bad body")
    for kind, resource in (
        ("series", series_id),
        ("studies", host.orthanc.get(f"/series/{series_id}")["ParentStudy"]),
    ):
        answer = host.orthanc.call("POST", f"/liver/{kind}/{resource}/segment", body)
        assert error_of(answer)[0] == 400
