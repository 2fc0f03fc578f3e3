"""What the setting Store names is stored together, kept together and replaced together."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from orthanc_liver.engine.protocol import Kind
from tests.plugin.host.conftest import HOSTS, Host
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.scripted_engine import result as written

KINDS = ["RTSTRUCT", "SEG", "SR"]


@pytest.fixture(scope="module", params=HOSTS)
def storing_host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    kind = HOSTS[request.param]
    one = kind(tmp_path_factory.mktemp("storing"), Store=KINDS, KeepSuperseded=False, Retries=0)
    with one.orthanc:
        one.ready()
        yield one


def beside(host: Host, series_id: str) -> dict[str, list[str]]:
    """The instances in the study of a series, by modality, without the CT."""
    study = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    found: dict[str, list[str]] = {}
    for one in host.orthanc.get(f"/studies/{study}/series"):
        if one["ID"] != series_id:
            found.setdefault(one["MainDicomTags"]["Modality"], []).extend(one["Instances"])
    return found


def test_a_late_slice_replaces_all_three(storing_host: Host) -> None:
    host = storing_host
    ct = small_ct("three objects", slices=7)
    series_id = host.store(ct[:6])
    first = host.ended_job_of(series_id)["Content"]["Result"]
    before = beside(host, series_id)
    assert sorted(before) == KINDS
    assert before["RTSTRUCT"] == [first["Instance"]]
    assert [before[one["Kind"]] for one in first["Further"]] == [
        [one["Instance"]] for one in first["Further"]
    ]
    host.store(ct[6:])
    last = host.ended_job_of(series_id, 2)["Content"]["Result"]
    assert last["Supersedes"] == first["SopInstanceUid"]
    after = beside(host, series_id)
    assert sorted(after) == KINDS
    assert all(len(ids) == 1 and ids != before[kind] for kind, ids in after.items())


def test_where_one_does_not_fit_none_stays(storing_host: Host) -> None:
    host = storing_host
    host.engine.behave("wrong study")
    series_id = host.upload("the report of another study")
    job = host.ended_job_of(series_id)
    host.engine.behave()
    assert job["Content"]["Outcome"] == "failed"
    assert "the SR does not belong to the study of its CT" in job["Content"]["Reason"]
    assert beside(host, series_id) == {}
    assert host.orthanc.lookup("1.2.3") == []


@pytest.mark.parametrize("kind", HOSTS)
def test_nothing_that_was_there_is_replaced_or_deleted(kind: str, tmp_path: Path) -> None:
    host = HOSTS[kind](tmp_path, Store=KINDS, Retries=0)
    host.orthanc.overrides = {**host.orthanc.overrides, "OverwriteInstances": True}
    with host.orthanc:
        series_id = host.upload("overwritten")
        result = host.ended_job_of(series_id)["Content"]["Result"]
        rtstruct, (seg, sr) = result["Instance"], (one["Instance"] for one in result["Further"])
        notes = [f"/instances/{one}/metadata/4504" for one in (rtstruct, seg)]
        for note in notes:
            host.orthanc.call("PUT", note, b"a note")
        host.orthanc.call("DELETE", f"/instances/{sr}")
        ct = [to_bytes(one) for one in small_ct("overwritten")]
        elsewhere = written(Kind.SR, ct, "a" * 64, is_wrong=True)
        host.orthanc.call("POST", "/instances", elsewhere)

        host.engine.behave("wrong study")
        failed = host.job(host.segment(series_id, Force=True), "Failure")
        assert "the SR does not belong" in failed["Content"]["Reason"]
        assert beside(host, series_id) == {"RTSTRUCT": [rtstruct], "SEG": [seg]}
        assert host.orthanc.lookup("1.2.3") != []

        host.engine.behave()
        again = host.job(host.segment(series_id, Force=True), "Success")
        assert again["Content"]["Result"] == result
        assert beside(host, series_id) == {"RTSTRUCT": [rtstruct], "SEG": [seg], "SR": [sr]}
        assert [host.orthanc.call("GET", note).content for note in notes] == [b"a note"] * 2


@pytest.mark.parametrize("kind", HOSTS)
def test_what_lies_under_our_uid_and_is_not_ours_is_told_and_stays(
    kind: str, tmp_path: Path
) -> None:
    host = HOSTS[kind](tmp_path, Store=KINDS)
    with host.orthanc:
        series_id = host.upload("somebody else's under our UID")
        first = host.ended_job_of(series_id)["Content"]
        rtstruct = first["Result"]["Instance"]
        edited = pydicom.dcmread(BytesIO(file_of(host, rtstruct)))
        host.orthanc.call("DELETE", f"/instances/{rtstruct}")
        edited.ROIContourSequence[0].ContourSequence[2].ContourData[4] = 77
        edited.StructureSetDate, edited.ApprovalStatus = "20200101", "APPROVED"
        host.orthanc.call("POST", "/instances", to_bytes(edited))
        lies_there = file_of(host, rtstruct)

        again = host.job(host.segment(series_id, Force=True), "Success")["Content"]
        differs = {"DiffersIn": ["ApprovalStatus", "ROIContourSequence"]}
        assert again["Result"] == first["Result"] | differs
        [new] = set(again["Report"]["warnings"]) - set(first["Report"]["warnings"])
        assert new.startswith("The RTSTRUCT that lies beside the CT is not the one")
        assert "differs in ApprovalStatus, ROIContourSequence" in new
        assert f"instance {rtstruct} stays, but is not the RTSTRUCT" in host.orthanc.log()
        assert file_of(host, rtstruct) == lies_there

        host.orthanc.call("DELETE", f"/instances/{rtstruct}")
        last = host.job(host.segment(series_id, Force=True), "Success")["Content"]
        assert last["Result"] == first["Result"]
        assert last["Report"]["warnings"] == first["Report"]["warnings"]


def file_of(host: Host, instance: str) -> bytes:
    return host.orthanc.call("GET", f"/instances/{instance}/file").content


@pytest.mark.parametrize("kind", HOSTS)
def test_pictures_and_pages_go_with_the_outline_and_nobody_elses_do(
    kind: str, tmp_path: Path
) -> None:
    host = HOSTS[kind](tmp_path, Store=[*KINDS, "SC", "PDF"], KeepSuperseded=False)
    with host.orthanc:
        ct = small_ct("five kinds", slices=7)
        series_id = host.store(ct[:6])
        first = host.ended_job_of(series_id)["Content"]["Result"]
        before = beside(host, series_id)
        assert {modality: len(ids) for modality, ids in before.items()} == {
            **dict.fromkeys([*KINDS, "DOC"], 1),
            "OT": 3,
        }
        [theirs] = before["DOC"]
        edited = pydicom.dcmread(BytesIO(file_of(host, theirs)))
        edited.Manufacturer = "Somebody"
        host.orthanc.call("DELETE", f"/instances/{theirs}")
        host.orthanc.call("POST", "/instances", to_bytes(edited))
        [theirs] = beside(host, series_id)["DOC"]
        host.store(ct[6:])
        last = host.ended_job_of(series_id, 2)["Content"]["Result"]
        assert last["Supersedes"] == first["SopInstanceUid"]
        after = beside(host, series_id)
        assert theirs in after["DOC"]
        assert {modality: len(ids) for modality, ids in after.items()} == {
            **dict.fromkeys(KINDS, 1),
            "DOC": 2,
            "OT": 3,
        }
        assert not set(after["OT"]) & set(before["OT"])
