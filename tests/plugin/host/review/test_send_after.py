"""What leaves Orthanc, and when, by what a person decided; on a fake one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.review.reviews import Reviews
from orthanc_liver.host.server.api import OrthancError
from tests.plugin.host.conftest import FakeHost, error_of
from tests.plugin.host.delivery.test_transmitter import deliveries_in, start
from tests.plugin.host.review.test_decisions import REASON, accept, reject, result_of
from tests.plugin.host.review.test_review_notes import OURS
from tests.plugin.host.series import small_ct
from tests.support.patience import wait_for

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
        if len(seen) == 1:
            deliveries.on_change()  # the second at once
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
    [approved] = set(careful.rtstructs_beside(series_id)) - {rtstruct}
    assert sent(careful) == [approved]


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


def test_a_rejected_outline_made_again_is_held_before_it_is_refused(careful: FakeHost) -> None:
    """Else whoever sends could take it in between."""
    series_id = careful.upload("rejected, then made again")
    rtstruct = result_of(careful, series_id)
    reject(careful, series_id)
    sendable: list[list[Delivery]] = []
    real = Deliveries.refuse

    def refuse(deliveries: Deliveries, instance: str, reason: str) -> None:
        found = [one for one in deliveries.unfinished() if instance == one.instance]
        sendable.append([one for one in found if not one.is_held])
        real(deliveries, instance, reason)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deliveries, "refuse", refuse)
        careful.job(careful.segment(series_id, Force=True), "Success")
    assert result_of(careful, series_id) == rtstruct
    assert sendable
    assert not any(sendable)


def test_rejected_after_it_was_accepted_the_approved_outline_is_not_sent(careful: FakeHost) -> None:
    careful.orthanc.archive.takes = set()
    series_id = careful.upload("accepted, then rejected")
    rtstruct = result_of(careful, series_id)
    accept(careful, series_id)
    [waiting] = deliveries_in(careful, "Retry", 1)
    assert waiting["Instances"] != [rtstruct]
    reject(careful, series_id)
    [refused] = deliveries_in(careful, "Failure", 1)
    assert (refused["ID"], REASON in refused["Reason"]) == (waiting["ID"], True)


def test_what_is_held_and_was_deleted_is_given_up_at_the_next_start(careful: FakeHost) -> None:
    """Nobody could decide on it any more."""
    rtstruct = result_of(careful, careful.upload("held, then deleted"))
    [held] = deliveries_in(careful, "Pending", 1)
    careful.orthanc.kill9()
    del careful.orthanc.archive.instances[rtstruct]
    careful.orthanc.start()
    [lost] = deliveries_in(careful, "Failure", 1)
    assert lost["ID"] == held["ID"]


def test_accepted_and_deleted_before_it_has_left_it_stops_no_start(tmp_path: Path) -> None:
    """SEG and the approved copy wait to be sent again when the RTSTRUCT is deleted."""
    host = start(tmp_path, Destinations=DESTINATIONS, Store=["RTSTRUCT", "SEG"])
    series_id = host.upload("accepted, then deleted")
    rtstruct = result_of(host, series_id)
    accept(host, series_id)
    deliveries_in(host, "Retry", 2)
    host.orthanc.kill9()
    del host.orthanc.archive.instances[rtstruct]
    host.orthanc.start()
    host.ready()
    assert host.orthanc.call("GET", "/liver/deliveries").status_code == 200
    host.orthanc.stop()


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
    """What is acted on is written first; the rest is made up for at the next start."""
    series = [careful.upload(f"killed after it was {verdict}") for verdict in Verdict]
    jobs = [careful.ended_job_of(one) for one in series]
    deliveries_in(careful, "Pending", 2)

    def killed(reviews: Reviews, review: Review) -> None:
        raise OrthancError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reviews, "add", killed)
        for decision, one in zip((accept, reject), series, strict=True):
            with pytest.raises(requests.HTTPError):
                decision(careful, one)
    assert sent(careful) == []
    careful.orthanc.kill9()
    careful.orthanc.start()
    accepted = wait_for("what was accepted", lambda: sent(careful))
    former = jobs[0]["Content"]["Result"]["Instance"]
    assert accepted == [*({*careful.rtstructs_beside(series[0])} - {former})]
    found = {one["Series"]: one for one in careful.orthanc.get("/liver/deliveries")}
    assert found[series[1]]["Reason"] == f"the outline was rejected: {REASON}"
    for one, verdict in zip(series, Verdict, strict=True):
        note = careful.orthanc.get(f"/series/{one}/metadata/4505")
        assert [review["Verdict"] for review in note["Reviews"]] == [verdict]
        assert careful.jobs_of(one)[0]["Content"]["Review"] == note["Reviews"][0]


@pytest.mark.parametrize("after", ["accepted", "accepted-if-doubtful"])
def test_no_note_of_a_client_opens_the_gate(tmp_path: Path, after: str) -> None:
    """Neither a decision in metadata 4505 nor a better grade in metadata 4501."""
    host = start(tmp_path, Destinations=DESTINATIONS, SendAfter=after)
    host.orthanc.archive.takes = {"pacs"}
    host.engine.behave(grade="doubtful")
    series_id = host.upload("opened by a client")
    job = host.ended_job_of(series_id)
    deliveries_in(host, "Pending", 1)
    of = {"Series": series_id, "Job": job["ID"], "Rtstruct": result_of(host, series_id)}
    review = OURS | of | {"Verdict": "accepted", "Reason": ""}
    note = host.orthanc.get(f"/series/{series_id}/metadata/4501")
    note["Job"]["Report"]["grade"] = "sure"
    for number, text in ((4505, {"Version": 1, "Reviews": [review]}), (4501, note)):
        path = f"/series/{series_id}/metadata/{number}"
        host.orthanc.call("PUT", path, json.dumps(text).encode()).raise_for_status()
    for _ in range(2):
        host.orthanc.post(f"/liver/jobs/{job['ID']}/deliver")
        until_looked_at(host)
        host.orthanc.kill9()
        host.orthanc.start()
        host.ready()
        until_looked_at(host)
    [shown] = host.jobs_of(series_id)  # so what was written was read
    assert shown["Content"]["Review"]["Verdict"] == "accepted"
    assert shown["Content"]["Report"]["grade"] == "sure"
    assert sent(host) == []
    deliveries_in(host, "Pending", 1)
    host.orthanc.stop()


def test_what_was_decided_of_a_series_goes_with_it(careful: FakeHost) -> None:
    """What a person wrote may name the patient."""
    series_id = careful.upload("deleted with what was decided")
    job = careful.ended_job_of(series_id)
    reject(careful, series_id)
    assert REASON in str(careful.orthanc.archive.properties)
    careful.orthanc.call("DELETE", f"/studies/{job['Content']['Study']}").raise_for_status()
    wait_for("no word of it", lambda: REASON not in str(careful.orthanc.archive.properties))


def test_each_destination_has_its_objects_and_its_time(tmp_path: Path) -> None:
    planning = {"Modality": "pacs", "Objects": ["RTSTRUCT"], "When": "accepted"}
    mask = {"Modality": "scanner", "Objects": ["SEG"], "When": "result"}
    host = start(
        tmp_path,
        Destinations=[planning, mask, {"DicomWeb": "archive"}],
        SendAfter="accepted-if-doubtful",
        Store=["RTSTRUCT", "SEG"],
    )
    host.orthanc.archive.takes = {"pacs", "scanner", "archive"}
    host.engine.behave(grade="look")
    series_id = host.upload("to three places")
    job = host.ended_job_of(series_id)

    def found() -> dict[tuple[str, str], dict[str, Any]]:
        return {
            (*one["Destination"].values(), one["Kind"]): one
            for one in host.orthanc.get("/liver/deliveries")
        }

    wait_for("the mask at once", lambda: found()["scanner", "SEG"]["State"] == "Success")
    until_looked_at(host)
    held = {name: one for name, one in found().items() if one["State"] == "Pending"}
    assert set(held) == {("pacs", "RTSTRUCT"), ("archive", "RTSTRUCT"), ("archive", "SEG")}
    assert {one["Reason"] for one in held.values()} == {"until a person accepts the outline"}
    host.orthanc.kill9()
    host.orthanc.start()
    until_looked_at(host)
    assert len(host.orthanc.archive.sent) == 1
    accept(host, series_id)
    wait_for("all", lambda: {one["State"] for one in found().values()} == {"Success"})
    assert len(found()) == 4
    former = job["Content"]["Result"]["Instance"]
    assert former not in sent(host)
    host.orthanc.stop()


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
    [held] = deliveries_in(host, "Pending", 1)
    assert held["Reason"] == "until a person accepts the outline"
    assert len(sent(host)) == tried
    accept(host, series_id)
    deliveries_in(host, "Success", 1)
    host.orthanc.stop()


def test_an_outline_is_not_accepted_while_its_successor_ends(
    careful: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who decides has looked at the former one, and the new one is stored already."""
    series = small_ct("accepted a moment too late", slices=7)
    series_id = careful.store(series[:6])
    body = {"Verdict": "accepted", "Rtstruct": result_of(careful, series_id), "By": "Ada"}
    path, answers = f"/liver/series/{series_id}/decision", list[requests.Response]()

    def decide() -> None:
        answers.append(careful.orthanc.call("POST", path, json.dumps(body).encode()))

    deciding = threading.Thread(target=decide)
    archive = careful.orthanc.module.archive
    real = archive.rest

    def rest(method: str, uri: str, body: bytes = b"") -> Any:
        if (method, uri) == ("PUT", f"/series/{series_id}/metadata/4501") and not deciding.ident:
            deciding.start()
            deciding.join(1.0)  # it waits for the end, or else is over by now
        return real(method, uri, body)

    monkeypatch.setattr(archive, "rest", rest)
    careful.store(series[6:])
    careful.ended_job_of(series_id, 2)
    deciding.join()
    assert [error_of(one)[0] for one in answers] == [409]
    assert {one["State"] for one in careful.orthanc.get("/liver/deliveries")} == {
        "Failure",
        "Pending",
    }
    assert sent(careful) == []


def test_a_former_outline_that_is_sent_again_ends_no_newer_one(careful: FakeHost) -> None:
    """Nobody could accept the former one any more."""
    series = small_ct("sent again too late", slices=7)
    series_id = careful.store(series[:6])
    former = careful.ended_job_of(series_id)
    careful.store(series[6:])
    last = careful.ended_job_of(series_id, 2)
    answer = careful.orthanc.call("POST", f"/liver/jobs/{former['ID']}/deliver")
    assert (error_of(answer)[0], "a newer outline" in answer.text) == (409, True)
    states = {one["Job"]: one["State"] for one in careful.orthanc.get("/liver/deliveries")}
    assert states == {former["ID"]: "Failure", last["ID"]: "Pending"}
    careful.orthanc.post(f"/liver/jobs/{last['ID']}/deliver")
    accept(careful, series_id)
    wait_for("the newer outline at its destination", lambda: sent(careful))
