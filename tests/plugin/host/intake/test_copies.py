"""Copies that Orthanc makes of a study with our results in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.plugin.host.conftest import FakeHost, Host
from tests.plugin.host.series import small_ct
from tests.plugin.host.test_overwritten import overwriting
from tests.plugin.host.watch import is_superseded
from tests.support.bad_input import crossing
from tests.support.ct_writer import to_bytes
from tests.support.patience import wait_for

Change = Callable[[pydicom.FileDataset], None]
ELSEWHERE = {"Elsewhere": "its slices are not in this study"}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeHost]:
    host = FakeHost(tmp_path)
    with host.orthanc:
        host.ready()
        yield host


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("copies"))
    with host.orthanc.until_killed():
        host.ready()
        yield host


def segmented(host: Host, uid_seed: str) -> tuple[str, str]:
    """A series with its outline; returns Orthanc's ids of series and study."""
    series_id = host.upload(uid_seed)
    host.ended_job_of(series_id)
    return series_id, host.orthanc.get(f"/series/{series_id}")["ParentStudy"]


def looked_at(host: Host, name: str) -> None:
    """Wait until the plugin has considered all that is stable; the log is read in order."""
    host.ended_job_of(host.upload(f"after {name}"))


def ct_and_copies(host: Host, study: str) -> tuple[list[str], list[str]]:
    """The CT series of a study, and its RTSTRUCTs that are copies: a job may store another."""
    beside = host.orthanc.get(f"/studies/{study}/series")
    kinds = {one["ID"]: one["MainDicomTags"]["Modality"] for one in beside}
    outlines = [i for one in beside if kinds[one["ID"]] == "RTSTRUCT" for i in one["Instances"]]
    copies = [one for one in outlines if not uid_of(host, one).startswith("2.25.")]
    return [one for one, kind in kinds.items() if kind == "CT"], copies


def uid_of(host: Host, instance: str) -> str:
    return str(host.orthanc.get(f"/instances/{instance}")["MainDicomTags"]["SOPInstanceUID"])


def note_on(host: Host, instance: str) -> Any:
    return host.orthanc.get(f"/instances/{instance}/metadata/4504")


def copy(host: FakeHost, study: str, follow: bool, note: str, keeps: str = "") -> str:
    """Copy a study under UIDs of Orthanc's; returns the new one's id. The RTSTRUCT comes first, and
    is marked as long as its slices are not there.

    follow: its references too. note: the metadata that Orthanc leaves, "" for none. keeps: a UID
    that stays.
    """
    uids: defaultdict[str, str] = defaultdict(generate_uid)
    studies = set()
    beside = host.orthanc.get(f"/studies/{study}/series")
    for one in sorted(beside, key=lambda series: series["MainDicomTags"]["Modality"] == "CT"):
        if keeps == "SeriesInstanceUID":
            uids[one["MainDicomTags"][keeps]] = one["MainDicomTags"][keeps]
        answers = [_stored_copy(host, instance, uids, follow) for instance in one["Instances"]]
        if note:
            path = f"/series/{answers[0]['ParentSeries']}/metadata/{note}"
            host.orthanc.call("PUT", path, one["ID"].encode())
        studies.add(answers[0]["ParentStudy"])
        host.orthanc.settle(answers[0]["ParentSeries"])
        if one["MainDicomTags"]["Modality"] != "CT":
            wait_for("the mark", partial(is_superseded, host, answers[0]["ID"]))
    [made] = studies
    return str(made)


def _stored_copy(
    host: FakeHost,
    instance: str,
    uids: dict[str, str],
    follow: bool,
    change: Change = lambda dataset: None,
) -> Any:
    file = host.orthanc.call("GET", f"/instances/{instance}/file").content
    dataset = pydicom.dcmread(BytesIO(file))
    own = [dataset[name] for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    for element in dataset.iterall() if follow else own:
        if element.VR == "UI" and not element.value.startswith("1.2.840.10008"):
            element.value = uids[element.value]
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    change(dataset)
    return host.orthanc.call("POST", "/instances", to_bytes(dataset)).json()


@pytest.mark.parametrize("note", ["AnonymizedFrom", "ModifiedFrom"])
def test_a_copy_with_our_outline_of_its_slices_is_not_segmented_again(
    fake: FakeHost, note: str
) -> None:
    _, study = segmented(fake, "copied")
    made = copy(fake, study, follow=True, note=note)
    looked_at(fake, "copied")
    [ct], [outline] = ct_and_copies(fake, made)
    assert fake.jobs_of(ct) == []
    assert not is_superseded(fake, outline)
    fake.orthanc.post("/liver/backfill", {"Studies": [made]})
    status = "/liver/status"
    wait_for("the end", lambda: fake.orthanc.get(status)["Backfill"]["State"] == "Done")
    assert fake.jobs_of(ct) == []
    assert fake.job(fake.segment(ct), "Success")["Content"]["Outcome"] == "segmented"
    # From then on it is a series like any other.
    [first, *_] = fake.orthanc.get(f"/series/{ct}")["Instances"]
    file = fake.orthanc.call("GET", f"/instances/{first}/file").content
    late = pydicom.dcmread(BytesIO(file))
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    fake.store([late])
    assert fake.ended_job_of(ct, 2)["Content"]["Outcome"] == "segmented"


def test_parts_of_an_outline_alone_are_no_outline(fake: FakeHost) -> None:
    series_id, study = segmented(fake, "parts without their outline")
    outline = fake.rtstructs_beside(series_id)[0]
    plane = [0.0, 1.0, 5.0, 2.0, 4.0, 9.0, 1.0, 2.0, 20.0]
    asked = {"Rtstruct": outline, "Plane": plane, "By": "Ada"}
    fake.orthanc.post(f"/liver/series/{series_id}/cut", asked)
    fake.orthanc.call("DELETE", f"/instances/{outline}")
    [ct], [parts] = ct_and_copies(fake, copy(fake, study, follow=True, note="AnonymizedFrom"))
    assert fake.ended_job_of(ct)["Content"]["Outcome"] == "segmented"
    assert not is_superseded(fake, parts)


def test_a_copy_that_was_segmented_is_a_series_like_any_other(tmp_path: Path) -> None:
    """Other pixels under the UIDs of its slices are another source, whatever outline came along."""
    host = overwriting(FakeHost, tmp_path)
    assert isinstance(host, FakeHost)
    with host.orthanc:
        host.ready()
        _, study = segmented(host, "copied, then replaced")
        [ct], _ = ct_and_copies(host, copy(host, study, follow=True, note="ModifiedFrom"))
        host.job(host.segment(ct), "Success")
        [first, *_] = host.orthanc.get(f"/series/{ct}")["Instances"]
        image = pydicom.dcmread(
            BytesIO(host.orthanc.call("GET", f"/instances/{first}/file").content)
        )
        image.PixelData = bytes(reversed(image.PixelData))
        host.store([image])
        assert host.ended_job_of(ct, 2)["Content"]["Outcome"] == "segmented"


@pytest.mark.parametrize("keeps", ["", "SeriesInstanceUID"])
def test_a_copy_of_other_slices_is_segmented_and_the_outline_marked(
    fake: FakeHost, keeps: str
) -> None:
    series_id, study = segmented(fake, "modified")
    made = copy(fake, study, follow=False, note="ModifiedFrom", keeps=keeps)
    [ct], [outline] = ct_and_copies(fake, made)
    result = fake.ended_job_of(ct)["Content"]["Result"]
    assert note_on(fake, outline) == ELSEWHERE
    assert not is_superseded(fake, result["Instance"])
    [original] = fake.rtstructs_beside(series_id)
    assert not is_superseded(fake, original)


def test_what_came_from_elsewhere_with_an_outline_is_no_copy(fake: FakeHost) -> None:
    """Another Orthanc's model may be older: only what Orthanc itself calls a copy is one."""
    _, study = segmented(fake, "from elsewhere")
    [ct], _ = ct_and_copies(fake, copy(fake, study, follow=True, note=""))
    assert fake.ended_job_of(ct)["Content"]["Outcome"] == "segmented"


def test_an_outline_that_came_alone_is_marked(fake: FakeHost) -> None:
    """As by a merge, of which Orthanc leaves no note."""
    _, study = segmented(fake, "merged")
    made = copy(fake, study, follow=False, note="")
    looked_at(fake, "merged")
    _, [outline] = ct_and_copies(fake, made)
    assert note_on(fake, outline) == ELSEWHERE


def test_a_copy_with_a_slice_that_our_outline_lacks_is_segmented(fake: FakeHost) -> None:
    """As where somebody anonymizes a study before what came late has had its job."""
    slices = small_ct("copied too early")
    series_id = fake.store(slices[:-1])
    fake.ended_job_of(series_id)
    study = fake.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    fake.orthanc.call("POST", "/instances", to_bytes(slices[-1]))
    [ct], [outline] = ct_and_copies(fake, copy(fake, study, follow=True, note="AnonymizedFrom"))
    assert fake.ended_job_of(ct)["Content"]["Outcome"] == "segmented"
    assert not is_superseded(fake, outline)


def test_a_copy_with_a_scout_view_that_our_outline_lacks_is_not_segmented(fake: FakeHost) -> None:
    slices = small_ct("copied with a scout")
    series_id = fake.store(slices[:-1])
    fake.ended_job_of(series_id)
    study = fake.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    fake.orthanc.call("POST", "/instances", to_bytes(crossing(slices[-1])))
    [ct], _ = ct_and_copies(fake, copy(fake, study, follow=True, note="AnonymizedFrom"))
    looked_at(fake, "copied with a scout")
    assert fake.jobs_of(ct) == []


def as_a_seg(dataset: pydicom.FileDataset) -> None:
    dataset.Modality = "SEG"


def nobodys(dataset: pydicom.FileDataset) -> None:
    del dataset.Manufacturer


@pytest.mark.parametrize("change", [as_a_seg, nobodys])
def test_only_an_rtstruct_of_ours_makes_a_copy_outlined(fake: FakeHost, change: Change) -> None:
    series_id, _ = segmented(fake, f"copied {change.__name__}")
    [outline] = fake.rtstructs_beside(series_id)
    uids: defaultdict[str, str] = defaultdict(generate_uid)
    _stored_copy(fake, outline, uids, follow=True, change=change)
    images = fake.orthanc.get(f"/series/{series_id}")["Instances"]
    [ct] = {_stored_copy(fake, one, uids, follow=True)["ParentSeries"] for one in images}
    fake.orthanc.call("PUT", f"/series/{ct}/metadata/ModifiedFrom", series_id.encode())
    fake.orthanc.settle(ct)
    assert fake.ended_job_of(ct)["Content"]["Outcome"] == "segmented"


def test_what_others_made_is_left_alone(fake: FakeHost) -> None:
    _, study = segmented(fake, "others'")
    made = copy(fake, study, follow=False, note="ModifiedFrom")
    _, [ours] = ct_and_copies(fake, made)
    file = pydicom.dcmread(BytesIO(fake.orthanc.call("GET", f"/instances/{ours}/file").content))
    file.Manufacturer = "another"
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        setattr(file, keyword, generate_uid())
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    stored = fake.orthanc.call("POST", "/instances", to_bytes(file)).json()
    # An original of ours, whose own mark says more.
    file.Manufacturer, file.SOPInstanceUID = "orthanc-liver", "2.25.7"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    original = fake.orthanc.call("POST", "/instances", to_bytes(file)).json()["ID"]
    fake.orthanc.call("PUT", f"/instances/{original}/metadata/4504", b'"a note"')
    for instance in (stored["ID"], ours):
        fake.orthanc.settle(fake.orthanc.get(f"/instances/{instance}")["ParentSeries"])
    looked_at(fake, "others'")
    assert not is_superseded(fake, stored["ID"])
    assert note_on(fake, ours) == ELSEWHERE
    assert note_on(fake, original) == "a note"


def test_a_result_whose_slices_are_gone_is_marked_until_they_come_again(fake: FakeHost) -> None:
    """Split off, merged away or deleted: nothing arrives in the study that is left."""
    series_id, study = segmented(fake, "left behind")
    [outline] = fake.rtstructs_beside(series_id)
    other, _ = segmented(fake, "not left behind")
    fake.orthanc.call("DELETE", f"/series/{series_id}")
    wait_for("the mark", partial(is_superseded, fake, outline))
    assert note_on(fake, outline) == ELSEWHERE
    assert not any(is_superseded(fake, one) for one in fake.rtstructs_beside(other))
    assert fake.upload("left behind") == series_id
    assert fake.ended_job_of(series_id, 2)["Content"]["Result"]["Instance"] == outline
    assert not is_superseded(fake, outline)
    # What is deleted with its result, or whose slices were only replaced, leaves nothing to mark.
    fake.orthanc.call("DELETE", f"/studies/{study}")
    looked_at(fake, "left behind")
    assert "marked" not in fake.orthanc.log().partition(f"instance {outline} is a result")[2][60:]


def test_orthanc_anonymizes(real: Host) -> None:
    _, study = segmented(real, "anonymized")
    made = real.orthanc.post(f"/studies/{study}/anonymize", {})["ID"]
    [ct], [outline] = ct_and_copies(real, made)
    real.stable(ct)
    looked_at(real, "anonymized")
    assert real.jobs_of(ct) == []
    assert not is_superseded(real, outline)


def test_orthanc_modifies(real: Host) -> None:
    _, study = segmented(real, "really modified")
    change = {"Replace": {"StudyDescription": "other"}}
    made = real.orthanc.post(f"/studies/{study}/modify", change)["ID"]
    [ct], [outline] = ct_and_copies(real, made)
    assert real.ended_job_of(ct)["Content"]["Outcome"] == "segmented"
    assert note_on(real, outline) == ELSEWHERE


def test_orthanc_splits(real: Host) -> None:
    series_id, study = segmented(real, "split off")
    [outline] = real.rtstructs_beside(series_id)
    real.orthanc.post(f"/studies/{study}/split", {"Series": [series_id], "KeepSource": False})
    wait_for("the mark", lambda: is_superseded(real, outline))
    assert note_on(real, outline) == ELSEWHERE


def test_orthanc_merges_the_slices_alone(real: Host) -> None:
    series_id, _ = segmented(real, "merged alone")
    [outline] = real.rtstructs_beside(series_id)
    target_series, target = segmented(real, "merged there")
    [there] = real.rtstructs_beside(target_series)
    real.orthanc.post(f"/studies/{target}/merge", {"Resources": [series_id], "KeepSource": False})
    wait_for("the mark", lambda: is_superseded(real, outline))
    assert note_on(real, outline) == ELSEWHERE
    assert not is_superseded(real, there)


def test_orthanc_merges(real: Host) -> None:
    _, study = segmented(real, "merged away")
    target_series, target = segmented(real, "merged into")
    [there] = real.rtstructs_beside(target_series)
    real.orthanc.post(f"/studies/{target}/merge", {"Resources": [study], "KeepSource": False})
    series, [moved] = ct_and_copies(real, target)
    [ct] = [one for one in series if one != target_series]
    assert real.ended_job_of(ct)["Content"]["Outcome"] == "segmented"
    wait_for("the mark", lambda: is_superseded(real, moved))
    assert note_on(real, moved) == ELSEWHERE
    assert not is_superseded(real, there)
