"""An RTSTRUCT that bears the CT's own SeriesInstanceUID, as some systems write it."""

from __future__ import annotations

import pydicom
import pytest

from tests.plugin.host.activity.test_activity import origins
from tests.plugin.host.activity.test_rois import BOX_ML, GIVEN, ask, store, structures
from tests.plugin.host.conftest import FakeHost, Host
from tests.plugin.host.series import small_ct
from tests.support.patience import wait_for


def ct_and_its_structures(seed: str) -> tuple[list[pydicom.FileDataset], pydicom.Dataset]:
    ct = small_ct(seed)
    drawn_on = structures(ct, "GTV")
    drawn_on.SeriesInstanceUID = ct[0].SeriesInstanceUID
    drawn_on.SeriesDescription = "scout"  # which the filter leaves out
    return ct, drawn_on


def check_outlined_by_one_job(host: Host, series_id: str) -> None:
    [job] = host.jobs_of(series_id)
    assert job["Content"]["Outcome"] == "segmented"
    assert host.engine.jobs()[-1]["instances"] == 6
    given = {key: value for key, value in GIVEN.items() if key != "LiverMl"}
    assert ask(host, series_id, **given, TumourMl=150)["ActivityGbq"]


def test_after_the_ct_it_is_no_slice_that_came_late(host: Host) -> None:
    ct, drawn_on = ct_and_its_structures("structures after")
    series_id = host.store(ct)
    host.ended_job_of(series_id)
    times_stable = stable_count(host, series_id)
    rtstruct = store(host, drawn_on)
    if isinstance(host, FakeHost):
        host.orthanc.settle(series_id)
    wait_for("stable again", lambda: stable_count(host, series_id) > times_stable)
    # The log is read in order.
    host.ended_job_of(host.upload("after structures after"))
    host.orthanc.post(f"/liver/series/{series_id}/segment")
    check_outlined_by_one_job(host, series_id)
    measured = ask(host, series_id, **GIVEN, TumourRoi="GTV", Rtstruct=rtstruct)
    assert origins(measured)["TumourMl"][0] == pytest.approx(BOX_ML, rel=1e-6)


def test_before_the_ct_it_does_not_hide_it(host: Host) -> None:
    ct, drawn_on = ct_and_its_structures("structures before")
    rtstruct = store(host, drawn_on)
    series_id = host.store(ct)
    assert host.orthanc.get(f"/series/{series_id}")["MainDicomTags"]["Modality"] == "RTSTRUCT"
    job = host.ended_job_of(series_id)
    told = f"RTSTRUCT {rtstruct} bears the CT's own SeriesInstanceUID"
    assert told in job["Content"]["Report"]["warnings"][-1]
    check_outlined_by_one_job(host, series_id)


def stable_count(host: Host, series_id: str) -> int:
    changes = host.orthanc.get("/changes?limit=100000")["Changes"]
    return sum(c["ID"] == series_id and c["ChangeType"] == "StableSeries" for c in changes)
