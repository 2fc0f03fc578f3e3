"""A person cuts the outline into parts: how they are stored, kept, superseded, sent, and named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from liver_unet.metrics import dice
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.roi_choice import LIVER
from orthanc_liver.dicom.rtstruct_reader import mask_of, outline_of, roi_of
from tests.plugin.host.conftest import FakeHost, Host, RealEngineHost, error_of
from tests.plugin.host.quality.drawn import (
    compared,
    comparisons,
    liver,
    returned,
    segmented,
    settle,
)
from tests.plugin.host.review.test_decisions import DOCTOR, accept, reject, result_of
from tests.plugin.host.series import small_ct
from tests.plugin.host.web.test_routes import NO_RESOURCE
from tests.support import judges
from tests.support.ct_writer import to_bytes, write_ct_series, write_files
from tests.support.threshold_engine import with_liver

PLANE = [0.0, 1.0, 5.0, 2.0, 4.0, 9.0, 1.0, 2.0, 20.0]
LASSOS = [[[0.0, 0.0, 5.0, 3.0, 0.0, 5.0, 0.0, 3.0, 5.0]]]


def cut(
    host: Host, series_id: str, headers: dict[str, str] | None = None, **body: Any
) -> dict[str, Any]:
    outline = host.jobs_of(series_id)[-1]["Content"]["Result"]["Instance"]
    asked = {"Rtstruct": outline, **({} if headers else {"By": "Ada"})} | body
    path = f"/liver/series/{series_id}/cut"
    answer = host.orthanc.call("POST", path, json.dumps(asked).encode(), headers)
    answer.raise_for_status()
    return dict(answer.json())


def standing(host: Host, series_id: str) -> dict[str, bool]:
    """Whether each cut's parts stand, newest first."""
    parts = host.orthanc.get(f"/liver/series/{series_id}/cuts")
    return {one["Instance"]: not one["SupersededBy"] for one in parts}


def test_parts_are_stored_kept_with_what_was_clicked_and_logged_without_a_name(host: Host) -> None:
    series_id = host.upload("cut in two")
    outline = host.ended_job_of(series_id)["Content"]["Result"]
    stored = cut(host, series_id, Plane=PLANE)
    assert stored["PartsMl"] == {"Right lobe": 900.0, "Left lobe": 600.0}
    facts = {"Outline": outline["SopInstanceUid"], "Plane": PLANE, "By": "Ada", "IsTyped": True}
    assert stored.items() >= facts.items()
    assert set(host.rtstructs_beside(series_id)) == {outline["Instance"], stored["Instance"]}
    [listed] = host.orthanc.get(f"/liver/series/{series_id}/cuts")
    assert listed == {name: value for name, value in stored.items() if name != "Job"}
    assert cut(host, series_id, Plane=PLANE)["Instance"] == stored["Instance"]
    names = [one["Name"] for one in host.orthanc.get(f"/liver/series/{series_id}/outlines")]
    assert sorted(names) == ["Left lobe", "Liver", "Right lobe"]
    line = (
        f"outline cut: User=- Series={series_id} Job={stored['Job']} Instance={stored['Instance']}"
    )
    assert line in host.orthanc.log()
    assert "Ada" not in host.orthanc.log()
    by_whom_orthanc_knows = cut(host, series_id, DOCTOR, Plane=PLANE)
    assert (by_whom_orthanc_knows["By"], by_whom_orthanc_knows["IsTyped"]) == ("doctor", False)


def test_parts_never_come_back_as_a_physicians(host: Host) -> None:
    series, series_id = segmented(host, "cut and not compared")
    stored = cut(host, series_id, Plane=PLANE)
    assert is_ours(fetched(host, stored["Instance"]))
    settle(host, stored["Instance"])
    after = returned(host, liver(series))
    compared(host, series_id, after)
    assert [one["Instance"] for one in comparisons(host, series_id)] == [after]


def is_ours(dataset: pydicom.Dataset) -> bool:
    return bool(dataset.Manufacturer == "orthanc-liver")


def test_a_change_takes_the_place_of_the_same_persons_former_parts(host: Host) -> None:
    series_id = host.upload("cut again")
    result_of(host, series_id)
    first = cut(host, series_id, Plane=PLANE)
    by_grace = cut(host, series_id, Plane=PLANE, By="Grace")
    lassos = cut(host, series_id, Lassos=LASSOS)
    second = cut(host, series_id, Plane=[*PLANE[:8], 21.0])
    stand = {one["Instance"]: True for one in (second, lassos, by_grace)}
    assert standing(host, series_id) == stand | {first["Instance"]: False}
    note = host.orthanc.call("GET", f"/instances/{first['Instance']}/metadata/4504").content
    assert json.loads(note) == {"SupersededBy": second["SopInstanceUid"]}
    assert host.orthanc.get(f"/liver/series/{series_id}/cuts")[1]["Lassos"] == LASSOS


def test_parts_that_are_cut_again_as_before_stand_again(host: Host) -> None:
    series_id = host.upload("cut, changed, and changed back")
    result_of(host, series_id)
    first = cut(host, series_id, Plane=PLANE)
    second = cut(host, series_id, Plane=[*PLANE[:8], 21.0])
    assert cut(host, series_id, Plane=PLANE)["Instance"] == first["Instance"]
    assert standing(host, series_id) == {first["Instance"]: True, second["Instance"]: False}
    marks = [
        host.orthanc.call("GET", f"/instances/{one['Instance']}/metadata/4504").status_code
        for one in (first, second)
    ]
    assert marks == [404, 200]


def test_a_newer_outline_takes_the_place_of_parts_of_the_former(host: Host) -> None:
    series = small_ct("cut too early", slices=7)
    series_id = host.store(series[:6])
    result_of(host, series_id)
    early = cut(host, series_id, Plane=PLANE)
    host.store(series[6:])
    late = host.ended_job_of(series_id, 2)["Content"]["Result"]
    [listed] = host.orthanc.get(f"/liver/series/{series_id}/cuts")
    assert (listed["Instance"], listed["SupersededBy"]) == (
        early["Instance"],
        late["SopInstanceUid"],
    )
    asked = {"Method": "glass", "DoseGy": 120.0, "LiverMl": 1500.0, "TumourRoi": "Right lobe"}
    path = f"/liver/series/{series_id}/activity"
    status, message = error_of(host.orthanc.call("POST", path, json.dumps(asked).encode()))
    assert (status, "took the place of those of this name" in message) == (400, True), message


def test_no_activity_rests_on_a_rejected_outline_without_a_word(host: Host) -> None:
    series_id = host.upload("cut, then rejected")
    result_of(host, series_id)
    cut(host, series_id, Plane=PLANE)
    path = f"/liver/series/{series_id}/activity"
    glass = {"Method": "glass", "DoseGy": 120.0, "LungShunt": 0.02}
    by_parts = glass | {"LiverMl": 2500, "PerfusedRoi": "Right lobe"}

    def warned() -> bool:
        warnings = host.orthanc.post(path, by_parts)["Warnings"]
        return any("rejected on the review page" in one for one in warnings)

    assert not warned()
    reject(host, series_id)
    assert warned()
    refused = host.orthanc.call("POST", path, json.dumps(glass).encode())
    assert error_of(refused)[0] == 409
    assert "the outline was rejected on the review page" in refused.text
    accept(host, series_id)
    assert not warned()
    assert host.orthanc.call("POST", path, json.dumps(glass).encode()).status_code == 200


@pytest.mark.parametrize("note", ["deleted", "accepted"])
def test_a_rejection_stands_whatever_a_client_makes_of_its_note(host: Host, note: str) -> None:
    series_id = host.upload(f"rejected, and the note {note}")
    asked = {"Rtstruct": result_of(host, series_id), "Plane": PLANE, "By": "Eve"}
    review = reject(host, series_id)
    path = f"/series/{series_id}/metadata/4505"
    if note == "deleted":
        host.orthanc.call("DELETE", path).raise_for_status()
    else:
        forged = {"Version": 1, "Reviews": [review | {"Verdict": "accepted"}]}
        host.orthanc.call("PUT", path, json.dumps(forged).encode()).raise_for_status()
    glass = {"Method": "glass", "DoseGy": 120.0, "LungShunt": 0.02}
    for route, body in (("cut", asked), ("activity", glass)):
        answer = host.orthanc.call(
            "POST", f"/liver/series/{series_id}/{route}", json.dumps(body).encode()
        )
        found, message = error_of(answer)
        assert (found, "outline was rejected" in message) == (409, True), (route, message)


def test_what_cannot_be_cut_is_refused(host: Host) -> None:
    series_id = host.upload("badly cut")
    good = {"Rtstruct": result_of(host, series_id), "Plane": PLANE, "By": "Ada"}
    path = f"/liver/series/{series_id}/cut"
    for change, status, sentence in (
        ({"Plane": [0.0] * 9}, 400, "the cut was told so"),
        ({"Plane": [0.0] * 8}, 400, "x, y, z of each point"),
        ({"Lassos": LASSOS}, 400, "either Plane or Lassos"),
        ({"By": ""}, 400, "By must be a name"),
        ({"By": None}, 400, "By must be a name"),
        ({"Name": "S8"}, 400, "nothing but: By, Lassos, Plane, Rtstruct"),
        ({"Rtstruct": NO_RESOURCE}, 409, "not the outline of the last job"),
        ({"Rtstruct": 7}, 409, "Content.Result.Instance of the job, or of its accepted copy"),
    ):
        answer = host.orthanc.call("POST", path, json.dumps(good | change).encode())
        found, message = error_of(answer)
        assert (found, sentence in message) == (status, True), message
    reject(host, series_id)
    found, message = error_of(host.orthanc.call("POST", path, json.dumps(good).encode()))
    assert (found, "was rejected" in message) == (409, True)
    assert len(host.rtstructs_beside(series_id)) == 1
    too_long = json.dumps(good | {"Plane": [0.0] * 100_000}).encode()
    assert error_of(host.orthanc.call("POST", path, too_long))[1] == "the body is too long"
    nowhere = host.orthanc.call(
        "POST", f"/liver/series/{NO_RESOURCE}/cut", json.dumps(good).encode()
    )
    assert error_of(nowhere)[0] == 404


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHost]:
    destinations = [
        {"Modality": "planning", "Objects": ["RTSTRUCT"], "When": "accepted"},
        {"Modality": "pictures", "Objects": ["SEG"]},
    ]
    one = FakeHost(tmp_path_factory.mktemp("sending parts"), Destinations=destinations)
    with one.orthanc:
        one.ready()
        yield one


def test_parts_go_where_structure_sets_go_when_the_outline_may(sending: FakeHost) -> None:
    host = sending
    series_id = host.upload("cut and sent")
    outline = result_of(host, series_id)

    def state_of(instance: str) -> tuple[str, str]:
        [one] = [d for d in host.orthanc.get("/liver/deliveries") if d["Instances"] == [instance]]
        assert one["Destination"] == {"Modality": "planning"}
        return one["State"], one["Reason"]

    first = cut(host, series_id, Plane=PLANE)["Instance"]
    assert state_of(first) == ("Pending", "until a person accepts the outline")
    second = cut(host, series_id, Plane=[*PLANE[:8], 22.0])["Instance"]
    overtaken = "newer parts, or a newer outline, took their place"
    assert state_of(first) == ("Failure", overtaken)
    host.job(host.segment(series_id, Force=True), "Success")  # the same outline again
    assert state_of(second) == ("Pending", "until a person accepts the outline")
    accept(host, series_id)
    assert "until a person" not in state_of(second)[1]
    approved = {*host.rtstructs_beside(series_id)} - {outline, first, second}
    assert len(approved) == 1
    assert cut(host, series_id, Lassos=LASSOS, Rtstruct=approved.pop())["PartsMl"]


def test_parts_of_a_rejected_outline_go_once_it_is_accepted(sending: FakeHost) -> None:
    host = sending
    series_id = host.upload("cut, rejected, accepted")
    result_of(host, series_id)
    first = cut(host, series_id, Plane=PLANE)["Instance"]
    second = cut(host, series_id, Plane=[*PLANE[:8], 23.0])["Instance"]
    reject(host, series_id)

    def states_of(instance: str) -> list[str]:
        every = host.orthanc.get("/liver/deliveries")
        return [one["State"] for one in every if one["Instances"] == [instance]]

    assert states_of(second) == ["Failure"]
    accept(host, series_id)
    assert states_of(second) in (["Failure", "Pending"], ["Failure", "Retry"])
    accept(host, series_id)
    assert len(states_of(second)) == 2
    assert states_of(first) == ["Failure"]


# The made-up liver's middle, in mm of the patient, and a plane askew through it.
MIDDLE = np.array([(49 * 4.4) / 2 - 20.0, (39 * 4.0) / 2 - 12.0, (23 * 5.0) / 2 + 4.0])


def lobes_plane(offset_mm: float = 0.0) -> list[float]:
    points = MIDDLE + np.array([(0.0, 0.0, 0.0), (12.0, 30.0, 0.0), (8.0, 0.0, 30.0)])
    points[:, 0] += offset_mm
    return list(points.ravel().tolist())


def box(z: float, half_mm: float) -> list[float]:
    x, y, _ = MIDDLE
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return [part for i, j in corners for part in (x + i * half_mm, y + j * half_mm, z)]


@pytest.fixture(scope="module")
def outlined(
    real_engine_host: RealEngineHost, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Host, str, Path, list[pydicom.FileDataset]]:
    """A CT with a liver of 0.8 L in a real Orthanc, outlined and accepted; and the CT as files."""
    host = real_engine_host
    series = write_ct_series(with_liver(), uid_seed="cut by a real engine")
    for one in series:
        one.PatientID, one.PatientSize, one.PatientWeight = "cut for real", "1.75", "70"
    series_id = host.store(series)
    host.job(host.segment(series_id), "Success")
    accept(host, series_id)
    folder = tmp_path_factory.mktemp("ct")
    write_files(folder, series)
    return host, series_id, folder, series


def fetched(host: Host, instance: str) -> pydicom.FileDataset:
    content = host.orthanc.call("GET", f"/instances/{instance}/file").content
    return pydicom.dcmread(BytesIO(content))


def alone(rtstruct: pydicom.FileDataset, name: str, path: Path) -> Path:
    """One of its ROIs, which is all that some readers take."""
    one = pydicom.dcmread(BytesIO(to_bytes(rtstruct)))
    [number] = [roi.ROINumber for roi in one.StructureSetROISequence if roi.ROIName == name]
    for sequence, keyword in (
        ("StructureSetROISequence", "ROINumber"),
        ("ROIContourSequence", "ReferencedROINumber"),
        ("RTROIObservationsSequence", "ReferencedROINumber"),
    ):
        kept = [item for item in getattr(one, sequence) if item[keyword].value == number]
        setattr(one, sequence, kept)
    path.write_bytes(to_bytes(one))
    return path


@pytest.mark.parametrize("way", ["plane", "lassos"])
def test_other_readers_find_parts_that_are_the_liver_together(
    outlined: tuple[Host, str, Path, list[pydicom.FileDataset]], way: str, tmp_path: Path
) -> None:
    host, series_id, folder, series = outlined
    lassos = [[box(45.0, 20.0), box(70.0, 45.0), box(85.0, 15.0)]]
    how = {"Plane": lobes_plane()} if way == "plane" else {"Lassos": lassos}
    stored = cut(host, series_id, **how)
    parts = fetched(host, stored["Instance"])
    (tmp_path / "parts.dcm").write_bytes(to_bytes(parts))
    assert judges.dciodvfy_errors(tmp_path / "parts.dcm") == []
    [of] = parts.PredecessorStructureSetSequence
    [found] = host.orthanc.lookup(of.ReferencedSOPInstanceUID)
    accepted = fetched(host, found["ID"])
    assert accepted.ApprovalStatus == "APPROVED"
    assert of.ReferencedSOPInstanceUID in parts.StructureSetDescription
    assert "accepted by a person" in parts.StructureSetDescription
    assert (parts.OperatorsName, parts.ApprovalStatus) == ("Ada", "UNAPPROVED")
    ct = read_ct_series([to_bytes(one) for one in series])
    path = Path("the liver")
    whole = mask_of(outline_of(roi_of(accepted, path, LIVER), ct, path), ct.volume, path)
    grid, seen, own = ct.volume.grid, {}, {}
    for name in stored["PartsMl"]:
        file, work = alone(parts, name, tmp_path / f"{name}.dcm"), tmp_path / name
        own[name] = judges.even_odd_mask(pydicom.dcmread(file), series)
        work.mkdir()
        seen[name] = judges.dcmrtstruct2nii_mask(file, folder, grid, work)
        ml = np.count_nonzero(own[name]) * grid.voxel_ml
        assert stored["PartsMl"][name] == pytest.approx(ml, abs=grid.voxel_ml)
        assert dice(seen[name], own[name]) > 0.99
    assert np.array_equal(sum(one.astype(int) for one in own.values()), whole.astype(int))
    total = sum(np.count_nonzero(one) for one in seen.values())
    assert total == pytest.approx(np.count_nonzero(whole), rel=0.01)
    if way == "plane":
        right, left = (np.argwhere(one)[:, 2].mean() for one in own.values())
        assert right < left  # the head lies first and the back below: x grows to the left


def test_the_activity_takes_parts_by_name_and_the_newest(
    outlined: tuple[Host, str, Path, list[pydicom.FileDataset]],
) -> None:
    host, series_id, _, _ = outlined
    cut(host, series_id, Plane=lobes_plane(8.0))
    newest = cut(host, series_id, Plane=lobes_plane(-8.0))
    found = {}
    for name in ("Right lobe", "Left lobe"):
        asked = {"Method": "glass", "DoseGy": 120.0, "PerfusedRoi": name}
        activity = host.orthanc.post(f"/liver/series/{series_id}/activity", asked)
        inputs = {one["Name"]: one for one in activity["Inputs"]}
        assert newest["Instance"] in inputs["PerfusedMl"]["Origin"]
        found[name] = inputs["PerfusedMl"]["Value"]
        assert found[name] == pytest.approx(newest["PartsMl"][name], rel=0.01)
        assert "outside" not in " ".join(activity["Warnings"])
    assert sum(found.values()) == pytest.approx(inputs["LiverMl"]["Value"], rel=0.005)
