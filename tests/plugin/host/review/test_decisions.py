"""A person accepts or rejects an outline; what is sent then: test_send_after."""

from __future__ import annotations

import json
from typing import Any

from tests.plugin.host.conftest import Host, error_of
from tests.plugin.host.series import small_ct
from tests.plugin.host.web.test_metrics import ask as figures_of
from tests.plugin.host.web.test_routes import NO_RESOURCE

DOCTOR = {"Authorization": "Basic ZG9jdG9yOnNlY3JldA=="}  # doctor:secret
REASON = "it leaks into the heart"


def result_of(host: Host, series_id: str) -> str:
    return str(host.ended_job_of(series_id)["Content"]["Result"]["Instance"])


def decide(
    host: Host, series_id: str, headers: dict[str, str] | None = None, **body: Any
) -> dict[str, Any]:
    path = f"/liver/series/{series_id}/decision"
    answer = host.orthanc.call("POST", path, json.dumps(body).encode(), headers)
    answer.raise_for_status()
    return dict(answer.json())


def accept(host: Host, series_id: str, **more: Any) -> dict[str, Any]:
    rtstruct = host.jobs_of(series_id)[-1]["Content"]["Result"]["Instance"]
    return decide(
        host, series_id, **{"Verdict": "accepted", "Rtstruct": rtstruct, "By": "Ada"} | more
    )


def reject(host: Host, series_id: str) -> dict[str, Any]:
    rtstruct = host.jobs_of(series_id)[-1]["Content"]["Result"]["Instance"]
    return decide(host, series_id, Verdict="rejected", Rtstruct=rtstruct, By="Ada", Reason=REASON)


def test_a_decision_is_kept_shown_counted_and_logged_without_its_words(host: Host) -> None:
    series_id = host.upload("decided on")
    rtstruct = result_of(host, series_id)
    assert host.jobs_of(series_id)[0]["Content"]["Review"] is None
    before = figures_of(host)
    review = reject(host, series_id)
    facts = {"Series": series_id, "Rtstruct": rtstruct, "Verdict": "rejected", "Reason": REASON}
    assert review.items() >= (facts | {"By": "Ada", "IsTyped": True}).items()
    assert host.jobs_of(series_id)[0]["Content"]["Review"] == review
    accepted = accept(host, series_id)
    assert host.jobs_of(series_id)[0]["Content"]["Review"] == accepted
    note = json.loads(host.orthanc.call("GET", f"/series/{series_id}/metadata/4505").content)
    assert note == {"Version": 1, "Reviews": [review, accepted]}
    shown = host.orthanc.get(f"/liver/series/{series_id}/slices")
    assert shown["Job"]["Content"]["Review"] == accepted
    after = figures_of(host)
    for verdict in ("accepted", "rejected"):
        sample = ("liver_reviews_total", (("verdict", verdict),))
        assert after[sample] == before[sample] + 1
    [line] = [
        one
        for one in host.orthanc.log().splitlines()
        if f"Series={series_id} " in one and "Verdict=rejected" in one
    ]
    told = f"outline reviewed: User=- Series={series_id} Job={review['Job']} Rtstruct={rtstruct}"
    assert told in line
    assert REASON not in host.orthanc.log()
    assert "Ada" not in host.orthanc.log()


def test_whom_orthanc_knows_need_not_type_a_name(host: Host) -> None:
    series_id = host.upload("decided by the doctor")
    asked = {"Verdict": "accepted", "Rtstruct": result_of(host, series_id)}
    review = decide(host, series_id, DOCTOR, **asked)
    assert (review["By"], review["IsTyped"]) == ("doctor", False)
    assert f"outline reviewed: User=doctor Series={series_id} " in host.orthanc.log()
    path = f"/liver/series/{series_id}/decision"
    body = json.dumps(asked | {"By": "somebody else"}).encode()
    status, message = error_of(host.orthanc.call("POST", path, body, DOCTOR))
    assert (status, message) == (400, "Orthanc knows who asks: leave By out")
    answer = host.orthanc.call("GET", f"/liver/series/{series_id}/slices", headers=DOCTOR)
    assert answer.json()["User"] == "doctor"
    assert host.orthanc.get(f"/liver/series/{series_id}/slices")["User"] == "-"


def test_what_is_no_decision_is_refused(host: Host) -> None:
    series_id = host.upload("badly decided on")
    good = {"Verdict": "accepted", "Rtstruct": result_of(host, series_id), "By": "Ada"}
    for change, status, sentence in (
        ({"Verdict": "perhaps"}, 400, "Verdict must be one of: accepted, rejected"),
        ({"Verdict": None}, 400, "texts only"),
        ({"Verdict": "rejected"}, 400, "Reason must say why"),
        ({"Verdict": "rejected", "Reason": " "}, 400, "Reason must say why"),
        ({"Reason": "x" * 501}, 400, "at most 500 characters"),
        ({"Reason": "two\nlines"}, 400, "on one line"),
        ({"By": ""}, 400, "By must be a name"),
        ({"By": "x" * 65}, 400, "By must be a name"),
        ({"By": 7}, 400, "texts only"),
        ({"Approved": "yes"}, 400, "texts only"),
        ({"Rtstruct": NO_RESOURCE}, 409, "Content.Result.Instance of the job"),
    ):
        path = f"/liver/series/{series_id}/decision"
        answer = host.orthanc.call("POST", path, json.dumps(good | change).encode())
        found, message = error_of(answer)
        assert (found, sentence in message) == (status, True), message
    answer = host.orthanc.call("GET", f"/series/{series_id}/metadata/4505")
    assert answer.status_code == 404


def test_without_an_outline_there_is_nothing_to_decide_on(host: Host) -> None:
    asked = json.dumps({"Verdict": "accepted", "Rtstruct": NO_RESOURCE, "By": "Ada"}).encode()
    answer = host.orthanc.call("POST", f"/liver/series/{NO_RESOURCE}/decision", asked)
    assert error_of(answer)[0] == 404
    host.engine.behave("no liver found")
    series_id = host.upload("nothing to decide on")
    host.ended_job_of(series_id)
    answer = host.orthanc.call("POST", f"/liver/series/{series_id}/decision", asked)
    assert error_of(answer) == (409, "the series' last job left no outline to decide on")
    host.engine.behave()
    gone = host.upload("outline deleted")
    body = {"Verdict": "accepted", "Rtstruct": result_of(host, gone), "By": "Ada"}
    host.orthanc.call("DELETE", f"/instances/{body['Rtstruct']}")
    path = f"/liver/series/{gone}/decision"
    answer = host.orthanc.call("POST", path, json.dumps(body).encode())
    assert (error_of(answer)[0], "no longer in Orthanc" in answer.text) == (409, True)


def test_a_newer_outline_has_to_be_decided_on_anew(host: Host) -> None:
    series = small_ct("decided on too early", slices=7)
    series_id = host.store(series[:6])
    result_of(host, series_id)
    accept(host, series_id)
    host.store(series[6:])
    late = host.ended_job_of(series_id, 2)
    assert late["Content"]["Result"]["Supersedes"]
    assert late["Content"]["Review"] is None
