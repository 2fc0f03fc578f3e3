"""A person accepts or rejects an outline, and what is sent then."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.stored_form import read_review
from orthanc_liver.host.review.review import Verdict
from tests.plugin.host.conftest import FakeHost, Host, error_of
from tests.plugin.host.delivery.test_transmitter import deliveries_in, start
from tests.plugin.host.paper import Paper, orthanc_id
from tests.plugin.host.series import small_ct
from tests.plugin.host.web.test_metrics import ask as figures_of
from tests.plugin.host.web.test_routes import NO_RESOURCE
from tests.support.patience import wait_for

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
    return decide(host, series_id, Verdict="accepted", Rtstruct=rtstruct, By="Ada", **more)


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
    assert f"outline reviewed: Series={series_id} Job={review['Job']} Rtstruct={rtstruct}" in line
    assert REASON not in host.orthanc.log()
    assert "Ada" not in host.orthanc.log()


def test_whom_orthanc_knows_need_not_type_a_name(host: Host) -> None:
    series_id = host.upload("decided by the doctor")
    asked = {"Verdict": "accepted", "Rtstruct": result_of(host, series_id)}
    review = decide(host, series_id, DOCTOR, **asked)
    assert (review["By"], review["IsTyped"]) == ("doctor", False)
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
        ({"Rtstruct": NO_RESOURCE}, 409, "not the outline of the last job"),
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


DESTINATIONS = [{"Modality": "pacs"}]


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[FakeHost]:
    """Nothing leaves it before a person accepts."""
    one = start(tmp_path, Destinations=DESTINATIONS, SendAfter="accepted")
    one.orthanc.archive.takes = {"pacs"}
    yield one
    one.orthanc.stop()


def sent(host: FakeHost) -> list[str]:
    return [instance for _, what in host.orthanc.archive.sent.values() for instance in what]


def until_looked_at(host: FakeHost) -> None:
    """Until the transmitter has looked through the deliveries once more, and another time."""
    seen: list[list[Delivery]] = []
    real = Deliveries.due

    def due(deliveries: Deliveries) -> list[Delivery]:
        seen.append(real(deliveries))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deliveries, "due", due)
        wait_for("two looks", lambda: len(seen) > 1)


def test_nothing_leaves_before_a_person_accepts(careful: FakeHost) -> None:
    series_id = careful.upload("accepted before it is sent")
    rtstruct = result_of(careful, series_id)
    [held] = deliveries_in(careful, "Pending", 1)
    assert held["Reason"] == "until a person accepts the outline"
    until_looked_at(careful)
    careful.orthanc.post(f"/liver/jobs/{held['Job']}/deliver")
    until_looked_at(careful)
    careful.orthanc.kill9()
    careful.orthanc.start()
    until_looked_at(careful)
    assert sent(careful) == []
    accept(careful, series_id)
    [gone] = deliveries_in(careful, "Success", 1)
    assert gone["ID"] == held["ID"]
    assert sent(careful) == [rtstruct]
    # Run again, it is the same outline, which is accepted and there already.
    careful.job(careful.segment(series_id, Force=True), "Success")
    accept(careful, series_id)
    until_looked_at(careful)
    assert sent(careful)[1:] in ([], [rtstruct])


def test_a_rejected_outline_is_never_sent_and_says_why(careful: FakeHost) -> None:
    series_id = careful.upload("rejected before it is sent")
    job = careful.ended_job_of(series_id)
    deliveries_in(careful, "Pending", 1)
    reject(careful, series_id)
    [refused] = deliveries_in(careful, "Failure", 1)
    assert refused["Reason"] == f"the outline was rejected: {REASON}"
    answer = careful.orthanc.call("POST", f"/liver/jobs/{job['ID']}/deliver")
    assert (error_of(answer)[0], "was rejected" in answer.text) == (409, True)
    # The same outline again: whoever rejected it rejected that.
    careful.job(careful.segment(series_id, Force=True), "Success")
    assert {one["State"] for one in deliveries_in(careful, "Failure", 2)} == {"Failure"}
    careful.orthanc.kill9()
    careful.orthanc.start()
    until_looked_at(careful)
    assert sent(careful) == []
    accept(careful, series_id)
    wait_for("the outline at its destination", lambda: sent(careful))


def test_rejected_after_a_failure_it_is_not_sent_again(tmp_path: Path) -> None:
    host = start(tmp_path, Destinations=DESTINATIONS)
    series_id = host.upload("rejected after it was refused")
    host.ended_job_of(series_id)
    deliveries_in(host, "Retry", 1)
    reject(host, series_id)
    [refused] = deliveries_in(host, "Failure", 1)
    assert REASON in refused["Reason"]
    host.orthanc.stop()


def test_killed_between_the_decision_and_what_follows_from_it(careful: FakeHost) -> None:
    """The note is written first; what it means is made up for at the next start."""
    series = [careful.upload(f"killed after it was {verdict}") for verdict in Verdict]
    jobs = [careful.ended_job_of(one) for one in series]
    deliveries_in(careful, "Pending", 2)
    careful.orthanc.kill9()
    for job, verdict in zip(jobs, Verdict, strict=True):
        rtstruct = job["Content"]["Result"]["Instance"]
        of = {"Series": job["Content"]["Series"], "Job": job["ID"], "Rtstruct": rtstruct}
        note = json.dumps({"Version": 1, "Reviews": [OURS | of | {"Verdict": verdict}]})
        path = f"/series/{of['Series']}/metadata/4505"
        careful.orthanc.archive.rest("PUT", path, note.encode())
    careful.orthanc.start()
    accepted = wait_for("what was accepted", lambda: sent(careful))
    assert accepted == [jobs[0]["Content"]["Result"]["Instance"]]
    found = {one["Series"]: one for one in careful.orthanc.get("/liver/deliveries")}
    assert found[series[1]]["Reason"] == f"the outline was rejected: {REASON}"


def test_what_an_older_setting_let_go_waits_too(tmp_path: Path) -> None:
    host = start(tmp_path, Destinations=DESTINATIONS)
    series_id = host.upload("made before the setting")
    host.ended_job_of(series_id)
    deliveries_in(host, "Retry", 1)
    host.orthanc.kill9()
    ours = host.orthanc.overrides["LiverSegmentation"] | {"SendAfter": "accepted"}
    host.orthanc.overrides = {**host.orthanc.overrides, "LiverSegmentation": ours}
    host.orthanc.archive.takes = {"pacs"}
    tried = len(sent(host))
    host.orthanc.start()
    until_looked_at(host)
    assert len(sent(host)) == tried
    accept(host, series_id)
    deliveries_in(host, "Success", 1)
    host.orthanc.stop()


SERIES = orthanc_id("series")
NOTE = f"/series/{SERIES}/metadata/4505"
OURS: dict[str, Any] = {
    "Series": SERIES,
    "Job": "01234567-0123-0123-0123-0123456789ab",
    "Rtstruct": orthanc_id("rtstruct"),
    "Verdict": "rejected",
    "Reason": REASON,
    "By": "Ada",
    "IsTyped": True,
    "Time": "20261128T063216.123456",
}


def reviews_in(note: bytes) -> tuple[list[Any], Paper]:
    paper = Paper()
    paper.kept[NOTE] = note
    return Ledger(paper).read_reviews(SERIES), paper  # type: ignore[arg-type] # enough of one


def test_our_note_is_read_as_it_was_written() -> None:
    [review], paper = reviews_in(json.dumps({"Version": 1, "Reviews": [OURS]}).encode())
    assert review.as_json() == OURS
    assert paper.said == []


@pytest.mark.parametrize("key", OURS)
def test_nothing_of_a_review_has_a_default(key: str) -> None:
    part = {name: value for name, value in OURS.items() if name != key}
    with pytest.raises(NotOurs):
        read_review(part)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("Version",), 2),
        (("Reviews",), {}),
        (("Reviews", 0), "accepted"),
        (("Reviews", 0, "Series"), orthanc_id("another series")),
        (("Reviews", 0, "Series"), "../../tools/shutdown"),
        (("Reviews", 0, "Job"), "x"),
        (("Reviews", 0, "Rtstruct"), "x"),
        (("Reviews", 0, "Verdict"), "Accepted"),
        (("Reviews", 0, "Verdict"), ["accepted"]),
        (("Reviews", 0, "Verdict"), ""),
        (("Reviews", 0, "Reason"), ""),
        (("Reviews", 0, "Reason"), "x" * 501),
        (("Reviews", 0, "Reason"), "two\nlines"),
        (("Reviews", 0, "By"), " "),
        (("Reviews", 0, "By"), {"name": "Ada"}),
        (("Reviews", 0, "By"), "\u202eadA"),
        (("Reviews", 0, "IsTyped"), 1),
        (("Reviews", 0, "Time"), "yesterday"),
        (("Reviews", 0, "Time"), "20261345T000000.000000"),
    ],
)
def test_a_note_that_is_changed_in_one_place_decides_nothing(
    path: tuple[Any, ...], value: Any
) -> None:
    note: Any = copy.deepcopy({"Version": 1, "Reviews": [OURS]})
    place = note
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    reviews, paper = reviews_in(json.dumps(note).encode())
    assert reviews == []
    assert [said.partition(":")[0] for said in paper.said] == [
        f"metadata 4505 of {SERIES} is not ours"
    ]


@pytest.mark.parametrize("note", [b"", b"accepted", b"[]", b"[7]", b"null", b'{"Reviews": null}'])
def test_rubbish_in_the_note_decides_nothing(note: bytes) -> None:
    assert reviews_in(note)[0] == []
