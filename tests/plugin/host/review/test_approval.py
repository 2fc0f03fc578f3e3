"""Accepting stores the outline anew as APPROVED; rejecting marks it; doubt alone waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.plugin.host.conftest import FakeHost, Host
from tests.plugin.host.delivery.test_transmitter import deliveries_in, start
from tests.plugin.host.review.test_decisions import accept, reject, result_of
from tests.plugin.host.review.test_send_after import DESTINATIONS, sent
from tests.plugin.host.series import small_ct
from tests.support.patience import wait_for


def note_of(host: Host, instance: str) -> dict[str, Any]:
    text = host.orthanc.call("GET", f"/instances/{instance}/metadata/4504").text
    found: dict[str, Any] = json.loads(text)
    return found


def file_of(host: Host, instance: str) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(host.orthanc.call("GET", f"/instances/{instance}/file").content))


def test_what_is_accepted_is_stored_anew_as_approved(host: Host) -> None:
    series_id = host.upload("approved")
    former = result_of(host, series_id)
    review = accept(host, series_id)
    [anew] = set(host.rtstructs_beside(series_id)) - {former}
    before, after = file_of(host, former), file_of(host, anew)
    assert (before.ApprovalStatus, after.ApprovalStatus) == ("UNAPPROVED", "APPROVED")
    assert after.ReviewerName == "Ada"
    assert f"{after.ReviewDate}T{after.ReviewTime}" == review["Time"].split(".")[0]
    assert after.SOPInstanceUID.startswith("2.25.")
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
    assert note_of(host, former) == {"SupersededBy": after.SOPInstanceUID}
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "StructureSetLabel", "PatientID"):
        assert before[keyword].value == after[keyword].value
    assert before.ROIContourSequence == after.ROIContourSequence
    # The same outline from a job that is run again is accepted already.
    host.job(host.segment(series_id, Force=True), "Success")
    assert set(host.rtstructs_beside(series_id)) == {former, anew}
    assert note_of(host, former) == {"SupersededBy": after.SOPInstanceUID}
    # A change of mind marks both.
    reject(host, series_id)
    assert list(note_of(host, former)) == list(note_of(host, anew)) == ["Rejected"]
    assert "Secret" not in str(note_of(host, former))


def test_what_is_rejected_is_marked_in_the_study(host: Host) -> None:
    series_id = host.upload("rejected and marked")
    former = result_of(host, series_id)
    reject(host, series_id)
    assert list(note_of(host, former)) == ["Rejected"]
    assert host.rtstructs_beside(series_id) == [former]


@pytest.fixture
def doubting(tmp_path: Path) -> Iterator[FakeHost]:
    """What is doubtful waits for a person; the scripted engine says nothing of doubt."""
    one = start(tmp_path, Destinations=DESTINATIONS, SendAfter="accepted-if-doubtful")
    one.orthanc.archive.takes = {"pacs"}
    yield one
    one.orthanc.stop()


def test_what_is_sure_is_sent_at_once(doubting: FakeHost) -> None:
    doubting.engine.behave(grade="sure")
    series_id = doubting.upload("graded sure")
    result = result_of(doubting, series_id)
    deliveries_in(doubting, "Success", 1)
    assert sent(doubting) == [result]


@pytest.mark.parametrize("grade", ["look", "doubtful", ""])
def test_what_is_not_sure_waits(doubting: FakeHost, grade: str) -> None:
    doubting.engine.behave(grade=grade)
    series_id = doubting.upload(f"graded {grade or 'by nobody'}")
    former = result_of(doubting, series_id)
    [held] = deliveries_in(doubting, "Pending", 1)
    assert held["Reason"] == "until a person accepts the outline"
    doubting.orthanc.kill9()
    doubting.orthanc.start()
    deliveries_in(doubting, "Pending", 1)
    assert sent(doubting) == []
    accept(doubting, series_id)
    deliveries_in(doubting, "Success", 1)
    [anew] = set(doubting.rtstructs_beside(series_id)) - {former}
    assert sent(doubting) == [anew]


def test_after_it_was_sent_the_approved_one_follows(tmp_path: Path) -> None:
    host = start(tmp_path, Destinations=DESTINATIONS)
    host.orthanc.archive.takes = {"pacs"}
    series_id = host.upload("sent, then accepted")
    former = result_of(host, series_id)
    deliveries_in(host, "Success", 1)
    accept(host, series_id)
    [anew] = set(host.rtstructs_beside(series_id)) - {former}
    wait_for("both", lambda: sent(host) == [former, anew])
    host.orthanc.stop()


@pytest.mark.parametrize("named", [{}, {"LiverRoi": "Liver"}])
def test_an_activity_warns_of_a_doubtful_outline_until_somebody_accepts_it(
    doubting: FakeHost, named: dict[str, str]
) -> None:
    given = {"Method": "resin", "TumourMl": 150, "HeightM": 1.75, "WeightKg": 70, **named}
    doubting.engine.behave(grade="doubtful")
    series_id = doubting.upload("doubtful activity")
    result_of(doubting, series_id)

    def warned() -> bool:
        answer = doubting.orthanc.post(f"/liver/series/{series_id}/activity", given)
        return any("doubtful and nobody has accepted it" in one for one in answer["Warnings"])

    assert warned()
    accept(doubting, series_id)
    assert not warned()


def test_of_two_who_accept_the_last_ones_copy_stands(host: Host) -> None:
    series_id = host.upload("accepted by two")
    former = result_of(host, series_id)
    accept(host, series_id)
    [first] = set(host.rtstructs_beside(series_id)) - {former}
    accept(host, series_id, By="Grace")
    [second] = set(host.rtstructs_beside(series_id)) - {former, first}
    standing = file_of(host, second)
    assert standing.ReviewerName == "Grace"
    for superseded in (former, first):
        assert note_of(host, superseded) == {"SupersededBy": standing.SOPInstanceUID}
    assert not is_marked(host, second)


def is_marked(host: Host, instance: str) -> bool:
    answer = host.orthanc.call("GET", f"/instances/{instance}/metadata")
    return "4504" in answer.json()


def test_a_newer_result_supersedes_what_was_approved_of_the_former_one(host: Host) -> None:
    ct = small_ct("approved, then a late slice", slices=8)
    series_id = host.store(ct[:7])
    former = host.ended_job_of(series_id)["Content"]["Result"]["Instance"]
    accept(host, series_id)
    [approved] = set(host.rtstructs_beside(series_id)) - {former}
    host.store(ct[7:])
    newer = host.ended_job_of(series_id, 2)["Content"]["Result"]
    for one in (former, approved):
        assert note_of(host, one) == {"SupersededBy": newer["SopInstanceUid"]}
    # The slice is taken away again, so the approved outline is of all that there is.
    [late] = host.orthanc.lookup(ct[7].SOPInstanceUID)
    host.orthanc.call("DELETE", f"/instances/{late['ID']}")
    host.job(host.segment(series_id), "Success")
    assert host.jobs_of(series_id)[-1]["Content"]["Result"]["Instance"] == former
    assert not is_marked(host, approved)
    assert note_of(host, newer["Instance"])["SupersededBy"]
