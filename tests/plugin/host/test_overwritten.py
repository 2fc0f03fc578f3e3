"""Orthanc's OverwriteInstances: other files under the same UIDs are another source of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.plugin.host.conftest import HOSTS, FakeHost, Host, error_of
from tests.plugin.host.series import small_ct
from tests.plugin.host.watch import is_superseded
from tests.support.patience import wait_for
from tests.support.scripted_engine import Ending

ACTIVITY = {"Method": "resin", "TumourMl": 150, "HeightM": 1.75, "WeightKg": 70, "LungShunt": 0.05}


def overwriting(kind: type[Host], folder: Path, **ours: object) -> Host:
    host = kind(folder, **ours)
    host.orthanc.overrides = {**host.orthanc.overrides, "OverwriteInstances": True}
    return host


@pytest.fixture(scope="module", params=HOSTS)
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    one = overwriting(HOSTS[request.param], tmp_path_factory.mktemp("overwriting"))
    with one.orthanc:
        one.ready()
        yield one


def moved(ct: list[pydicom.FileDataset]) -> list[pydicom.FileDataset]:
    for image in ct:
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y, float(z) + 12.5]
    return ct


def with_other_pixels(ct: list[pydicom.FileDataset]) -> list[pydicom.FileDataset]:
    ct[2].PixelData = bytes(reversed(ct[2].PixelData))
    return ct


def times_stable(host: Host, series_id: str) -> int:
    changes = host.orthanc.get("/changes?limit=100000")["Changes"]
    return sum(c["ID"] == series_id and c["ChangeType"] == "StableSeries" for c in changes)


def sent_again(host: Host, ct: list[pydicom.FileDataset], after: str) -> None:
    """Overwrite a series and wait until the plugin has looked at it."""
    [found] = host.orthanc.lookup(ct[0].SeriesInstanceUID)
    series_id = found["ID"]
    before = times_stable(host, series_id)
    host.store(ct)
    wait_for("it is stable again", lambda: times_stable(host, series_id) > before)
    # The log is read in order.
    host.ended_job_of(host.upload(after))


def test_the_same_files_again_are_no_other_source(host: Host) -> None:
    series_id = host.upload("the same files")
    job = host.ended_job_of(series_id)
    sent_again(host, small_ct("the same files"), after="after the same files")
    assert [one["ID"] for one in host.jobs_of(series_id)] == [job["ID"]]
    [rtstruct] = host.rtstructs_beside(series_id)
    assert not is_superseded(host, rtstruct)
    assert host.orthanc.post(f"/liver/series/{series_id}/activity", ACTIVITY)["ActivityGbq"]


def test_a_series_that_moved_is_segmented_anew_and_the_old_outline_says_so(host: Host) -> None:
    series_id = host.upload("moved")
    first = host.ended_job_of(series_id)["Content"]["Result"]
    host.store(moved(small_ct("moved")))
    last = host.ended_job_of(series_id, 2)["Content"]["Result"]
    assert last["Supersedes"] == first["SopInstanceUid"]
    note = host.orthanc.get(f"/instances/{first['Instance']}/metadata/4504")
    assert note == {"SupersededBy": last["SopInstanceUid"]}
    assert not is_superseded(host, last["Instance"])


def test_other_pixels_are_segmented_anew(host: Host) -> None:
    series_id = host.upload("other pixels")
    host.ended_job_of(series_id)
    host.store(with_other_pixels(small_ct("other pixels")))
    assert host.ended_job_of(series_id, 2)["Content"]["Outcome"] == "segmented"


@pytest.mark.parametrize("ending", ["no liver found", "refused"])
def test_where_nothing_takes_its_place_the_old_outline_says_so_too(
    host: Host, ending: Ending
) -> None:
    seed = f"moved, then {ending}"
    series_id = host.upload(seed)
    first = host.ended_job_of(series_id)["Content"]["Result"]
    note = f"/instances/{first['Instance']}/metadata/4504"
    host.engine.behave(ending)
    host.store(moved(small_ct(seed)))
    assert host.ended_job_of(series_id, 2)["Content"]["Outcome"] == ending
    assert host.orthanc.get(note) == {"Outdated": "its series has changed since"}
    # The same once more changes nothing, and with what was there first it stands again.
    host.job(host.segment(series_id, Force=True), "Success", "Failure")
    assert is_superseded(host, first["Instance"])
    host.engine.behave()
    host.store(small_ct(seed))
    assert host.ended_job_of(series_id, 4)["Content"]["Result"]["Instance"] == first["Instance"]
    assert not is_superseded(host, first["Instance"])


def test_a_result_of_unchanged_slices_stands_although_another_job_finds_none(host: Host) -> None:
    series_id = host.upload("no liver the second time")
    first = host.ended_job_of(series_id)["Content"]["Result"]
    host.engine.behave("no liver found", times=1)
    host.job(host.segment(series_id, Force=True), "Success")
    assert not is_superseded(host, first["Instance"])


def test_what_is_overwritten_while_its_job_runs_gets_another(host: Host) -> None:
    host.engine.behave("hang", times=1)
    series_id = host.upload("overwritten meanwhile")
    host.job_in_engine(host.segment(series_id))
    sent = with_other_pixels(small_ct("overwritten meanwhile"))
    host.store(sent)
    wait_for("a second job", lambda: len(host.jobs_of(series_id)) == 2)
    host.orthanc.post(f"/liver/jobs/{host.jobs_of(series_id)[0]['ID']}/cancel")
    assert host.ended_job_of(series_id, 2)["Content"]["Outcome"] == "segmented"


def test_the_activity_does_not_use_the_old_outline(tmp_path: Path) -> None:
    host = overwriting(FakeHost, tmp_path, Automatic=False)
    with host.orthanc:
        host.ready()
        series_id = host.upload("an activity of old")
        host.job(host.segment(series_id), "Success")
        path = f"/liver/series/{series_id}/activity"
        assert host.orthanc.post(path, ACTIVITY)["ActivityGbq"]
        host.store(moved(small_ct("an activity of old")))
        status, message = error_of(host.orthanc.call("POST", path, json.dumps(ACTIVITY).encode()))
        assert status == 409
        assert "instances are not those that were segmented" in message
