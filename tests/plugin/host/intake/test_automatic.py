"""What arrives in Orthanc becomes jobs, each once."""

from __future__ import annotations

import json

import pytest

from tests.plugin.host.conftest import FakeHost, Host, only_real
from tests.plugin.host.series import small_ct
from tests.plugin.host.watch import is_superseded
from tests.support.patience import wait_for


@only_real
def test_a_series_by_c_store_is_segmented_once_and_its_result_lies_beside_it(host: Host) -> None:
    ct = small_ct("c-store")
    host.orthanc.send(reversed(ct))
    [found] = host.orthanc.lookup(ct[0].SeriesInstanceUID)
    series_id = found["ID"]
    job = host.ended_job_of(series_id)
    assert job["State"] == "Success"
    assert job["Type"] == "LiverSegmentation"
    assert job["Progress"] == 100
    assert job["Content"]["Outcome"] == "segmented"
    assert job["Content"]["Report"]["liver_ml"] == 1500.0
    [instance] = host.rtstructs_beside(series_id)
    assert job["Content"]["Result"]["Instance"] == instance
    tags = host.orthanc.get(f"/instances/{instance}/simplified-tags")
    assert tags["PatientID"] == ct[0].PatientID
    assert tags["StudyInstanceUID"] == ct[0].StudyInstanceUID
    assert job["Content"]["Result"]["SopInstanceUid"] == tags["SOPInstanceUID"]
    # The RTSTRUCT makes the study stable once more; that is no new job.
    host.stable(host.orthanc.get(f"/instances/{instance}")["ParentSeries"])
    assert len(host.jobs_of(series_id)) == 1


def test_the_engine_gets_every_instance_and_the_settings(host: Host) -> None:
    series_id = host.upload("settings travel", slices=7)
    host.ended_job_of(series_id)
    assert host.engine.jobs()[-1]["instances"] == 7
    assert host.engine.jobs()[-1]["settings"] == {
        "minimum_slices": 5,
        "maximum_memory_mib": 6144,
        "roi_name": "Liver",
        "roi_colour": [221, 130, 101],
        "series_description": "Liver auto: {source}",
        "kinds": ["RTSTRUCT"],
        "look_here": False,
        "projections": False,
    }
    host.job(host.segment(series_id, Force=True), "Success")
    assert host.engine.jobs()[-1]["settings"]["projections"]


def test_what_the_filter_does_not_admit_stays_alone(host: Host) -> None:
    mr = host.upload("an mr", modality="MR")
    few = host.upload("four slices", slices=4)
    scout = host.upload("a scout", description="abdomen scout")
    for series_id in (mr, few, scout):
        host.stable(series_id)
    # The log is read in order, so when this one has a job the others have been considered.
    host.ended_job_of(host.upload("an admitted one, later"))
    for series_id in (mr, few, scout):
        assert host.jobs_of(series_id) == []


def test_the_same_series_sent_again_stores_nothing_twice(host: Host) -> None:
    series_id = host.upload("sent again")
    host.ended_job_of(series_id)
    jobs = len(host.engine.jobs())
    assert host.upload("sent again") == series_id
    host.ended_job_of(host.upload("something after it"))
    assert len(host.jobs_of(series_id)) == 1
    assert len(host.rtstructs_beside(series_id)) == 1
    assert len(host.engine.jobs()) == jobs + 1


def test_a_series_that_a_corrected_patient_id_splits_is_warned_about(host: Host) -> None:
    ct = small_ct("split by PatientID", slices=13)
    for image in ct[6:]:
        image.PatientID = "corrected"
    first = host.store(ct[:6])
    second = host.store(ct[6:])
    warnings = host.ended_job_of(second)["Content"]["Report"]["warnings"]
    assert warnings[0] == "a scripted warning"
    [told] = warnings[1:]
    assert f"also filed under another patient or study (series {first})" in told
    host.ended_job_of(first)


def test_no_liver_is_a_success_without_rtstruct(host: Host) -> None:
    host.engine.behave("no liver found")
    series_id = host.upload("no liver")
    job = host.ended_job_of(series_id)
    assert (job["State"], job["Content"]["Outcome"]) == ("Success", "no liver found")
    assert host.rtstructs_beside(series_id) == []


def test_a_refused_series_fails_with_the_reason_and_is_not_tried_again(host: Host) -> None:
    host.engine.behave("refused")
    jobs = len(host.engine.jobs())
    series_id = host.upload("refused")
    job = host.ended_job_of(series_id)
    assert (job["State"], job["Content"]["Outcome"]) == ("Failure", "refused")
    assert job["ErrorDescription"] == "the scripted engine was told so"
    assert job["ErrorCode"] != 0
    assert len(host.engine.jobs()) == jobs + 1
    assert host.rtstructs_beside(series_id) == []


def test_the_series_itself_tells_what_became_of_it(host: Host) -> None:
    series_id = host.upload("record")
    job = host.ended_job_of(series_id)
    record = json.loads(host.orthanc.call("GET", f"/series/{series_id}/metadata/4501").text)
    assert record["Job"]["ID"] == job["ID"]
    assert record["Job"]["State"] == "Success"
    assert record["Result"]["Instance"] == job["Content"]["Result"]["Instance"]
    assert record["Result"]["Model"] == {"Name": "scripted", "Sha256": "a" * 64}
    assert record["Result"]["SourceKey"] == job["Content"]["SourceKey"]


def test_a_late_slice_that_is_deleted_again_gives_the_first_outline_its_place_back(
    host: Host,
) -> None:
    ct = small_ct("late, then deleted", slices=7)
    series_id = host.store(ct[:6])
    first = host.ended_job_of(series_id)["Content"]["Result"]["Instance"]
    host.store(ct[6:])
    second = host.ended_job_of(series_id, 2)["Content"]["Result"]["Instance"]
    assert (is_superseded(host, first), is_superseded(host, second)) == (True, False)
    [late] = host.orthanc.lookup(ct[6].SOPInstanceUID)
    host.orthanc.call("DELETE", f"/instances/{late['ID']}")
    again = host.job(host.segment(series_id), "Success")["Content"]["Result"]["Instance"]
    assert again == first
    assert (is_superseded(host, first), is_superseded(host, second)) == (False, True)


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_a_job_that_waits_until_its_series_is_stable_says_so(host: FakeHost) -> None:
    series_id = Host.store(host, small_ct("asked for while it arrives"))
    job_id = host.segment(series_id)

    def reason() -> str:
        return str(host.orthanc.get(f"/liver/jobs/{job_id}")["Content"]["Reason"])

    wait_for("its reason", lambda: reason().startswith("waits until the series is stable"))
    host.engine.behave(seconds=1.0)
    host.orthanc.settle(series_id)
    assert host.job_in_engine(job_id)["Content"]["Reason"] == ""
    host.job(job_id, "Success")
