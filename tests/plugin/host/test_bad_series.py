"""The table of bad input, sent to a real Orthanc with the real inference process.

Only the network is another one (threshold_engine.py): reading, refusing, contours and RTSTRUCT are
the product's.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileDataset

from tests.plugin.host.conftest import Host, RealEngineHost
from tests.plugin.host.watch import answered_throughout
from tests.support.bad_input import READ, REFUSED, Reading, body_sized, tiny_slices
from tests.support.ct_writer import write_ct_series
from tests.support.patience import wait_for
from tests.support.threshold_engine import with_liver

pytestmark = pytest.mark.filterwarnings("ignore:.*")

# What never becomes a job: not of modality CT, or fewer instances than MinimumSlices.
NEVER_ADMITTED = {"few", "mr", "nothing", "pet", "single", "enhanced"}
# Orthanc takes instances apart by patient and series, and keeps one of each UID: one is missing.
SEEN_OTHERWISE = {
    "other_patient": "A slice is missing",
    "other_series": "A slice is missing",
    "shared_uid": "A slice is missing",
}
# What is read, but made of pixels that cannot be a body's in HU.
NO_BODY = {
    "small_matrix": "The images span",
    "rows_unlike_columns": "The images span",
    "jpeg2000": "The images span",
    "rescale_per_slice": "The values cannot be HU",
}


@pytest.fixture
def host(real_engine_host: RealEngineHost) -> RealEngineHost:
    return real_engine_host


def all_idle(host: Host) -> None:
    def look() -> bool:
        queue = host.orthanc.get("/liver/status")["Queue"]
        return not queue["Pending"] + queue["Running"] + queue["Retry"]

    wait_for("an empty queue", look, 60)


def sent(host: Host, slices: list[FileDataset]) -> str:
    with pydicom.config.disable_value_validation():
        return host.store(slices)


def check_read(name: str, job: dict[str, Any], warning: str) -> None:
    if name in NO_BODY:
        assert job["Content"]["Reason"].startswith(NO_BODY[name])
        return
    assert job["Content"]["Outcome"] == "no liver found", (name, job["Content"]["Reason"])
    assert warning in " ".join(job["Content"]["Report"]["warnings"])


def test_the_whole_table(host: RealEngineHost) -> None:
    """One Orthanc for all cases at once, so that none can spoil another."""
    before = host.real_engine.starts()
    series = {}
    cases: list[Reading] = [*(case[0] for case in REFUSED), *(case[0] for case in READ)]
    for change in cases:
        slices = tiny_slices(change.__name__, body_sized())
        change(slices)
        if slices:
            series[change.__name__[1:]] = sent(host, slices)
    for series_id in series.values():
        host.stable(series_id)
    sound = sent(host, tiny_slices("after all of them", body_sized()))
    host.stable(sound)
    all_idle(host)
    assert host.ended_job_of(sound)["Content"]["Outcome"] == "no liver found"
    for name, series_id in series.items():
        if name in NEVER_ADMITTED:
            assert host.jobs_of(series_id) == [], name
    for change, what, advice in REFUSED:
        name = change.__name__[1:]
        if name in NEVER_ADMITTED:
            continue
        [job] = host.jobs_of(series[name])
        assert (job["State"], job["Content"]["Outcome"]) == ("Failure", "refused"), name
        assert SEEN_OTHERWISE.get(name, what) in job["Content"]["Reason"], name
        assert name in SEEN_OTHERWISE or advice in job["Content"]["Reason"]
        assert job["Content"]["Attempt"] == 1
    for change, warning in READ:
        name = change.__name__[1:]
        [job] = host.jobs_of(series[name])
        check_read(name, job, warning)
    for series_id in series.values():
        assert host.rtstructs_beside(series_id) == []
    assert host.real_engine.starts() == before  # none of them cost a process


def test_the_result_bears_the_patients_name_byte_for_byte(host: RealEngineHost) -> None:
    names = [change for change, _ in READ if change.__name__.endswith(("_name", "_says"))]
    assert len(names) >= 9
    series = {}
    for change in names:
        ct = write_ct_series(with_liver(), uid_seed=f"the result of {change.__name__}")
        with pydicom.config.disable_value_validation():
            change(ct)
        series[change.__name__[1:]] = sent(host, ct)
    for name, series_id in series.items():
        job = host.ended_job_of(series_id)
        assert job["Content"]["Outcome"] == "segmented", (name, job["Content"]["Reason"])
        [result] = host.rtstructs_beside(series_id)
        source = host.orthanc.get(f"/series/{series_id}")["Instances"][0]
        assert name_in(host, result) == name_in(host, source), name


def name_in(host: Host, instance: str) -> bytes:
    """The bytes of PatientName as they are stored; an absent name is an empty one."""
    file = host.orthanc.call("GET", f"/instances/{instance}/file").content
    raw = pydicom.dcmread(BytesIO(file)).get_item("PatientName")
    return ((raw.value if raw else b"") or b"").rstrip(b" ")


@pytest.mark.long
def test_a_private_tag_of_300_mb(host: RealEngineHost) -> None:
    slices = tiny_slices("300 MB", body_sized())
    slices[4].private_block(0x0009, "SOMEBODY", create=True).add_new(1, "OB", bytes(300_000_000))
    with answered_throughout(host):
        job = host.ended_job_of(sent(host, slices))
    assert job["Content"]["Outcome"] == "no liver found", job["Content"]["Reason"]


@pytest.mark.long
def test_two_thousand_slices(host: RealEngineHost) -> None:
    slices = write_ct_series(body_sized(2000, 0.3), uid_seed="2000 slices")
    with answered_throughout(host):
        series_id = sent(host, slices)
        host.stable(series_id)
        all_idle(host)
        job = host.ended_job_of(series_id)
    assert job["Content"]["Outcome"] == "no liver found", job["Content"]["Reason"]


def test_what_would_not_fit_is_refused_with_its_sizes(host: RealEngineHost) -> None:
    slices = tiny_slices("would not fit")
    for one in slices:
        one.Rows, one.Columns = 30_000, 40_000  # the pixels are not there, and nobody looks
    job = host.ended_job_of(sent(host, slices))
    assert job["Content"]["Outcome"] == "refused"
    assert "12 images of 30000 x 40000 pixels would take about" in job["Content"]["Reason"]
    assert "MaximumMemoryMib allows 6144" in job["Content"]["Reason"]


def test_a_study_of_a_hundred_series(host: RealEngineHost) -> None:
    study = write_ct_series(with_liver(), uid_seed="a hundred")[0].StudyInstanceUID
    series = []
    for number in range(100):
        ct = write_ct_series(with_liver((12, 40, 50)), uid_seed=f"a hundred {number}")
        for one in ct:
            one.StudyInstanceUID = study
            one.SeriesNumber = number
        series.append(sent(host, ct))
    wait_for("every job", lambda: all(map(host.jobs_of, series)), 60)
    all_idle(host)
    [parent] = {host.orthanc.get(f"/series/{one}")["ParentStudy"] for one in series}
    beside = host.orthanc.get(f"/studies/{parent}/series")
    results = [one for one in beside if one["MainDicomTags"]["Modality"] == "RTSTRUCT"]
    assert len(results) == len(series)
    # Asking for the whole study brings nothing new.
    jobs = host.orthanc.post(f"/liver/studies/{parent}/segment")
    assert len(jobs) == len(series)
    all_idle(host)
    assert len(host.orthanc.get(f"/studies/{parent}")["Series"]) == 2 * len(series)
