"""Volumes from ROIs that somebody else outlined, through a real Orthanc."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from orthanc_liver.dicom.contours import Contour
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from tests.plugin.host.activity.test_activity import origins, refusal
from tests.plugin.host.conftest import Host
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes as ct_to_bytes

GIVEN = {"Method": "resin", "HeightM": 1.75, "WeightKg": 70, "LungShunt": 0.05, "LiverMl": 1800}
# Two slices of 2 x 3 pixels of 2 x 1.5 mm, 3 mm apart.
BOX_ML = 2 * (2 * 2.0) * (3 * 1.5) * 3.0 / 1000


def structures(
    series: Sequence[pydicom.Dataset], name: str, first_slice: int = 1, slices: int = 2
) -> pydicom.Dataset:
    """An RTSTRUCT with one box and an ROI without contours, as planning systems leave them."""
    ct = read_ct_series([ct_to_bytes(one) for one in series], min_slices=3)
    corners = [(0.5, 0.5), (0.5, 3.5), (2.5, 3.5), (2.5, 0.5)]
    contours = [
        Contour(n, np.array([ct.volume.grid.to_mm(np.array([n, *c])) for c in corners]))
        for n in range(first_slice, first_slice + slices)
    ]
    provenance, style = Provenance("0", name, "0" * 64), RoiStyle(name=name)
    dataset = build_rtstruct(ct, contours, provenance, style, pydicom.valuerep.DT("20250304"))
    dataset = pydicom.dcmread(BytesIO(to_bytes(dataset)))
    empty = pydicom.Dataset()
    empty.ROINumber, empty.ROIName = 9, "empty"
    dataset.StructureSetROISequence.insert(0, empty)
    return dataset


def store(host: Host, dataset: pydicom.Dataset) -> str:
    answer = host.orthanc.call("POST", "/instances", to_bytes(dataset))
    return str(answer.json()["ID"])


@pytest.fixture(scope="module")
def study(shared_host: Host) -> tuple[str, str]:
    """A CT whose tumour is outlined; ids of the series and the RTSTRUCT."""
    series = small_ct("rois")
    series_id = shared_host.store(series)
    return series_id, store(shared_host, structures(series, "GTV"))


def ask(host: Host, series_id: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = host.orthanc.post(f"/liver/series/{series_id}/activity", body)
    return answer


def test_the_tumour_is_the_roi_of_that_name(host: Host, study: tuple[str, str]) -> None:
    series_id, rtstruct = study
    for choice in ({}, {"Rtstruct": rtstruct}):
        value, origin = origins(ask(host, series_id, **GIVEN, TumourRoi="GTV", **choice))[
            "TumourMl"
        ]
        assert value == pytest.approx(BOX_ML, rel=1e-6)
        assert rtstruct in origin
        assert "area of the ROI's contours" in origin


def test_a_perfused_volume_may_be_an_roi(host: Host, study: tuple[str, str]) -> None:
    body = {"Method": "glass", "DoseGy": 120, "LiverMl": 1800, "PerfusedRoi": "GTV"}
    status, message = refusal(host, study[0], body)  # it is found, and 0.108 mL are no segment
    assert status == 400
    assert "PerfusedMl (area of the ROI's contours" in message


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"TumourRoi": "gtv"}, "TumourRoi: no ROI with an outline has this name; there are: 'GTV'"),
        ({"TumourRoi": "empty"}, "no ROI with an outline"),
        ({"TumourRoi": "GTV", "TumourMl": 1}, "TumourRoi or TumourMl, not both"),
        ({"TumourRoi": 7}, "must be the name of an ROI"),
        ({"TumourMl": 1, "Rtstruct": "x"}, "Rtstruct goes with one of"),
        ({"TumourRoi": "GTV", "Rtstruct": "x"}, "not the id of an RTSTRUCT in the study"),
        ({"TumourRoi": "GTV", "Rtstruct": 7}, "must be Orthanc's id"),
        ({"TumourMl": 1, "Store": "SR"}, "Store must be a list of SEG, SR, SC, PDF"),
        ({"TumourMl": 1, "Store": ["RTSTRUCT"]}, "Store must be a list of SEG, SR, SC, PDF"),
    ],
)
def test_refusals(host: Host, study: tuple[str, str], body: dict[str, Any], sentence: str) -> None:
    status, message = refusal(host, study[0], GIVEN | body)
    assert (status, sentence in message) == (400, True), message


def test_what_does_not_fit_this_ct_is_refused(host: Host) -> None:
    series = small_ct("rois of another ct")
    series_id = host.store(series)
    elsewhere = structures(series, "elsewhere")
    for roi in elsewhere.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = generate_uid()
    between, twice = structures(series, "between"), structures(series, "twice")
    for contour in between.ROIContourSequence[0].ContourSequence:
        contour.ContourData[2::3] = [float(z) + 1.4 for z in contour.ContourData[2::3]]
    twice.StructureSetTime, twice.OperatorsName = "101500.25", "Ada"
    open_line = structures(series, "line")
    open_line.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = "OPEN_PLANAR"
    ids = [store(host, one) for one in (elsewhere, between, twice, open_line)]
    again = structures(series, "twice", slices=1)
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    store(host, again)
    for name, sentence in (
        ("elsewhere", "another frame of reference"),
        ("between", "does not lie on the slices"),
        ("twice", "several ROIs have this name"),
        ("line", "enclose nothing"),
    ):
        status, message = refusal(host, series_id, GIVEN | {"TumourRoi": name})
        assert (status, sentence in message) == (400, True), message
        if name == "twice":
            assert f"RTSTRUCT {ids[2]}, drawn at 101500 by 'Ada'" in message
    chosen = ask(host, series_id, **GIVEN, TumourRoi="twice", Rtstruct=ids[2])
    assert origins(chosen)["TumourMl"][0] == pytest.approx(BOX_ML, rel=1e-6)


def test_what_would_take_minutes_to_measure_is_refused_at_once(host: Host) -> None:
    """40 contours of 500 points over each other on one slice; it took 50 s, and 7 min on eight."""
    series = small_ct("circles")
    series_id = host.store(series)
    dataset = structures(series, "GTV")
    [outlined] = dataset.ROIContourSequence
    [first, *_] = outlined.ContourSequence
    origin = np.array(first.ContourData[:3], float)
    row, column = np.array(series[0].ImageOrientationPatient, float).reshape(2, 3)
    circles = []
    for number in range(40):
        angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)[:, None] + number / 1000
        points = origin + 2 * np.cos(angles) * row + 2 * np.sin(angles) * column
        circles.append(pydicom.Dataset())
        circles[-1].ContourGeometricType = "CLOSED_PLANAR"
        circles[-1].NumberOfContourPoints = len(points)
        circles[-1].ContourData = [f"{value:.4f}" for value in points.ravel()]
    outlined.ContourSequence = circles
    store(host, dataset)
    status, message = refusal(host, series_id, {**GIVEN, "TumourRoi": "GTV"})
    assert status == 400
    assert "too many contours over and beside each other" in message
    assert "give its volume" in message


def test_an_roi_number_of_several_rois_and_another_series(host: Host) -> None:
    """By its number alone nobody knows which of two ROIs a contour is of."""
    series = small_ct("rois of one number")
    series_id = host.store(series)
    shared, elsewhere = structures(series, "shared"), structures(series, "elsewhere")
    shared.StructureSetROISequence[0].ROINumber = shared.StructureSetROISequence[1].ROINumber
    [frame] = elsewhere.ReferencedFrameOfReferenceSequence
    [drawn_on] = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    drawn_on.SeriesInstanceUID = generate_uid()
    for one in (shared, elsewhere):
        store(host, one)
    for name in ("shared", "empty"):
        status, message = refusal(host, series_id, GIVEN | {"TumourRoi": name})
        assert (status, "one ROINumber to several" in message) == (400, True), message
    told = ask(host, series_id, **GIVEN, TumourRoi="elsewhere")["Warnings"]
    assert any("TumourMl: the outline says that it was drawn on another series" in o for o in told)


def test_contours_that_are_cut_off_or_moved(host: Host) -> None:
    series = small_ct("contours that are cut off")
    series_id = host.store(series)
    for name in ("cut", "moved"):
        dataset = structures(series, name)
        for contour in dataset.ROIContourSequence[0].ContourSequence:
            if name == "cut":
                contour.NumberOfContourPoints = 9
            else:
                contour.ContourOffsetVector = [0, 0, 3]
        store(host, dataset)
    told = ask(host, series_id, **GIVEN, TumourRoi="cut")["Warnings"]
    assert any("2 contours hold another number of points than they say" in one for one in told)
    status, message = refusal(host, series_id, GIVEN | {"TumourRoi": "moved"})
    assert (status, "contours with an offset" in message) == (400, True), message


def test_storing_needs_a_segmentation_that_stands(host: Host) -> None:
    host.engine.behave("no liver found")
    series_id = host.upload("nothing to store")
    host.ended_job_of(series_id)
    status, message = refusal(host, series_id, GIVEN | {"TumourMl": 1, "Store": ["SR"]})
    assert (status, "came to no liver volume" in message) == (409, True)


def liver_of(
    series: Sequence[pydicom.Dataset], drawn_on: str = "", approval: str = "UNAPPROVED"
) -> pydicom.Dataset:
    """A liver that somebody outlined over four slices, as large as no liver is."""
    dataset = structures(series, "Liver", 1, 4)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StructureSetLabel, dataset.ApprovalStatus = "by hand", approval
    dataset.StructureSetDate, dataset.StructureSetTime = drawn_on, "120000"
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        z = contour.ContourData[2]
        contour.ContourData = [
            n for x, y in ((-100, -90), (160, -90), (160, 110), (-100, 110)) for n in (x, y, z)
        ]
    return dataset


# 260 x 200 mm on four slices that are 3 mm apart
HAND_ML = 260 * 200 * 4 * 3 / 1000
LIVERLESS = {name: value for name, value in GIVEN.items() if name != "LiverMl"}


def test_the_newest_approved_liver_wins_and_an_unapproved_one_must_be_chosen(host: Host) -> None:
    series = small_ct("a corrected liver")
    series_id = host.store(series)
    host.ended_job_of(series_id)
    body = LIVERLESS | {"TumourMl": 20}
    assert origins(ask(host, series_id, **body))["LiverMl"][0] == pytest.approx(1500)
    edited = store(host, liver_of(series, "20260102"))
    status, message = refusal(host, series_id, body)
    assert status == 409
    assert f"'by hand', 20260102, unapproved, RTSTRUCT {edited}" in message
    assert "'scripted'" in message
    chosen = ask(host, series_id, **body, LiverRoi="Liver", Rtstruct=edited)
    assert origins(chosen)["LiverMl"][0] == pytest.approx(HAND_ML)
    store(host, liver_of(series, "20250607", "APPROVED"))
    approved = store(host, liver_of(series, "20251231", "APPROVED"))
    volume, origin = origins(ask(host, series_id, **body))["LiverMl"]
    assert volume == pytest.approx(HAND_ML)
    assert f"'by hand', 20251231, approved, RTSTRUCT {approved}" in origin


@pytest.mark.parametrize("time", ["", "as ours"])
def test_a_correction_of_the_same_day_is_not_older(host: Host, time: str) -> None:
    """Nobody knows which came first where it has no time, or kept ours."""
    series = small_ct(f"corrected the same day {time}")
    series_id = host.store(series)
    instance = host.ended_job_of(series_id)["Content"]["Result"]["Instance"]
    ours = host.orthanc.get(f"/instances/{instance}/simplified-tags")
    edited = liver_of(series, ours["StructureSetDate"])
    edited.StructureSetTime = ours["StructureSetTime"] if time else ""
    rtstruct = store(host, edited)
    status, message = refusal(host, series_id, LIVERLESS | {"TumourMl": 20})
    assert (status, rtstruct in message) == (409, True), message


@pytest.mark.parametrize("days", [("20251231", ""), ("20251231", "20251231")])
def test_which_of_two_approved_livers_is_the_newest(host: Host, days: tuple[str, str]) -> None:
    series = small_ct(f"two approved livers {days}")
    series_id = host.store(series)
    host.ended_job_of(series_id)
    both = [store(host, liver_of(series, day, "APPROVED")) for day in days]
    status, message = refusal(host, series_id, LIVERLESS | {"TumourMl": 20})
    assert (status, "several approved outlines" in message) == (409, True), message
    assert all(one in message for one in both)


def test_a_correction_of_another_name_is_told_of(host: Host) -> None:
    series = small_ct("a corrected liver of another name")
    series_id = host.store(series)
    host.ended_job_of(series_id)
    for name, day in (("LIVER_corr", "20300102"), ("liver of old", "20000102")):
        other = liver_of(series, day)
        other.StructureSetROISequence[1].ROIName = name
        store(host, other)
    told = ask(host, series_id, **LIVERLESS, TumourMl=20)["Warnings"]
    (warning,) = [one for one in told if "similar names" in one]
    assert "ROI 'LIVER_corr' of structure set 'by hand', 20300102, unapproved" in warning
    assert "of old" not in warning
    chosen = ask(host, series_id, **LIVERLESS, TumourMl=20, LiverRoi="LIVER_corr")
    assert not any("similar names" in one for one in chosen["Warnings"])


def test_a_liver_outlined_on_another_series_is_not_taken(host: Host) -> None:
    series = small_ct("a liver of the other phase")
    series_id = host.store(series)
    host.ended_job_of(series_id)
    other = liver_of(series, "20260102", "APPROVED")
    [frame] = other.ReferencedFrameOfReferenceSequence
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[
        0
    ].SeriesInstanceUID = generate_uid()
    store(host, other)
    body = LIVERLESS | {"TumourMl": 20}
    assert origins(ask(host, series_id, **body))["LiverMl"][0] == pytest.approx(1500)


def test_only_what_lies_in_the_liver_counts(host: Host) -> None:
    series = small_ct("a tumour at the edge")
    series_id = host.store(series)
    store(host, liver_of(series, "20260102", "APPROVED"))  # slices 1 to 4
    for name, first, slices in (("inside", 2, 3), ("beside", 0, 3)):
        store(host, structures(series, name, first, slices))
    host.ended_job_of(series_id)
    slice_ml = BOX_ML / 2
    inside = ask(host, series_id, **LIVERLESS, TumourRoi="inside")
    assert origins(inside)["TumourMl"][0] == pytest.approx(3 * slice_ml)
    body = LIVERLESS | {"TumourRoi": "beside"}
    status, message = refusal(host, series_id, body)
    assert (status, "33 % of the outline for TumourMl lie outside" in message) == (400, True)
    meant = ask(host, series_id, **body, OutsideIsMeant=True)
    assert origins(meant)["TumourMl"][0] == pytest.approx(2 * slice_ml)
    assert any("0.1 mL of the outline lie outside" in one for one in meant["Warnings"])
    assert refusal(host, series_id, body | {"OutsideIsMeant": 1})[0] == 400


def test_what_the_segmentation_sets_aside_costs_no_roi(host: Host) -> None:
    """A localizer in the series, a duplicate, positions rounded to 0.1 mm."""
    series = small_ct("rois beside a localizer", slices=8)
    outlined = structures(series, "GTV")
    for one in series:
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y, z + (0.05 if one.InstanceNumber % 2 else -0.04)]
    localizer, duplicate = (pydicom.dcmread(BytesIO(ct_to_bytes(series[1]))) for _ in range(2))
    localizer.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    for one in (localizer, duplicate):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    series_id = host.store([localizer, *series, duplicate])
    store(host, outlined)
    answer = ask(host, series_id, **GIVEN, TumourRoi="GTV")
    assert origins(answer)["TumourMl"][0] == pytest.approx(BOX_ML, rel=0.01)


def change_contours(dataset: pydicom.Dataset, **values: Any) -> None:
    """Give every contour other values; None deletes one."""
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        for keyword, value in values.items():
            if value is None:
                del contour[keyword]
            else:
                contour[keyword].value = value


# What each does to an RTSTRUCT, and the sentence that it is refused with.
BROKEN: dict[str, tuple[Callable[[pydicom.Dataset], object], str]] = {
    "no rois": (lambda d: d.pop("StructureSetROISequence"), "no ROI with an outline"),
    "no outlines": (lambda d: d.pop("ROIContourSequence"), "no ROI with an outline"),
    "no numbers of rois": (
        lambda d: [roi.pop("ROINumber") for roi in d.StructureSetROISequence],
        "no ROI with an outline",
    ),
    "no names": (lambda d: d.StructureSetROISequence[1].pop("ROIName"), "no ROI with an outline"),
    "no contours": (lambda d: d.ROIContourSequence[0].pop("ContourSequence"), "no ROI with"),
    "no kind": (lambda d: change_contours(d, ContourGeometricType=None), "enclose nothing"),
    "no points": (lambda d: change_contours(d, ContourData=None), "three points"),
    "no values": (lambda d: change_contours(d, ContourData=[]), "three points"),
    "NaN": (lambda d: change_contours(d, ContourData=["NaN"] * 9), "cannot be read"),
    "inf": (lambda d: change_contours(d, ContourData=["-inf"] * 9), "cannot be read"),
    "eight numbers": (lambda d: change_contours(d, ContourData=["1"] * 8), "cannot be read"),
    "no frame": (
        lambda d: [
            d.pop("ReferencedFrameOfReferenceSequence"),
            d.StructureSetROISequence[1].pop("ReferencedFrameOfReferenceUID"),
        ],
        "does not say in which frame",
    ),
}


def test_what_cannot_be_read_is_400_and_a_sentence(host: Host) -> None:
    series = small_ct("broken structure sets")
    series_id = host.store(series)
    in_place = pydicom.dcmread(BytesIO(ct_to_bytes(series[2])))
    in_place.SOPInstanceUID = in_place.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    in_place.SeriesInstanceUID, in_place.Modality = generate_uid(), "RTSTRUCT"
    store(host, in_place)
    for name, (change, sentence) in BROKEN.items():
        broken = structures(series, name)
        broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        with pydicom.config.disable_value_validation():
            change(broken)
            store(host, broken)
        status, message = refusal(host, series_id, GIVEN | {"TumourRoi": name})
        assert (status, sentence in message) == (400, True), (name, message)


def test_one_frame_of_the_whole_set_is_that_of_its_rois(host: Host) -> None:
    series = small_ct("a frame of the set")
    series_id = host.store(series)
    outlined = structures(series, "GTV")
    del outlined.StructureSetROISequence[1].ReferencedFrameOfReferenceUID
    store(host, outlined)
    answer = ask(host, series_id, **GIVEN, TumourRoi="GTV")
    assert origins(answer)["TumourMl"][0] == pytest.approx(BOX_ML)
    assert any("no outline for LiverMl is known" in one for one in answer["Warnings"])


def test_two_rois_of_one_name_are_told_apart_by_label_date_and_approval(host: Host) -> None:
    series = small_ct("two structure sets")
    series_id = host.store(series)
    for day, approval in (("20250102", "UNAPPROVED"), ("20260304", "APPROVED")):
        one = liver_of(series, day, approval)
        one.StructureSetLabel = f"of {day}"
        store(host, one)
    body = LIVERLESS | {"LiverRoi": "Liver", "TumourMl": 20}
    status, message = refusal(host, series_id, body)
    assert status == 400
    assert "structure set 'of 20250102', 20250102, unapproved" in message
    assert "structure set 'of 20260304', 20260304, approved" in message
