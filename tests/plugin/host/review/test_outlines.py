"""Slices in order and contours in pixels, of stacks that are neither square nor upright."""

from __future__ import annotations

from collections.abc import Sequence
from threading import current_thread
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import RTStructureSetStorage, generate_uid

from liver_unet.volume import Grid, Volume
from tests.plugin.host.conftest import FakeHost, Host, error_of
from tests.plugin.host.web.test_routes import NO_RESOURCE
from tests.support.ct_writer import to_bytes, write_ct_series

# Planes that lie askew in all three directions, whose columns are 1.3 mm apart and rows 2.1 mm.
TURN = np.array([[0.8, 0.36, -0.48], [0.6, -0.48, 0.64], [0.0, -0.8, -0.6]])
_SPACING_MM = (4.0, 2.1, 1.3)
# A bent shape in (row, column): no mirror image of it is the same.
BENT = [(1.0, 2.0), (6.0, 2.0), (6.0, 4.0), (3.0, 4.0), (3.0, 7.0), (1.0, 7.0)]


def askew_ct(uid_seed: str, shape: tuple[int, int, int] = (5, 8, 11)) -> list[pydicom.FileDataset]:
    """A CT whose files do not come in the order of its slices."""
    affine = np.eye(4)
    affine[:3, 0] = -_SPACING_MM[0] * TURN[:, 2]
    affine[:3, 1] = _SPACING_MM[1] * TURN[:, 1]
    affine[:3, 2] = _SPACING_MM[2] * TURN[:, 0]
    affine[:3, 3] = (-31.0, 12.0, 250.0)
    hu = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    series = write_ct_series(Volume(hu, Grid(shape, affine)), uid_seed=uid_seed)
    for dataset in series:
        dataset.PatientID = uid_seed
    return [series[n] for n in (3, 0, 4, 1, 2)]


def drawn_on(
    series: Sequence[pydicom.Dataset],
    contours: Sequence[tuple[pydicom.Dataset, Sequence[tuple[float, float]], float]],
    kind: str = "CLOSED_PLANAR",
) -> pydicom.Dataset:
    """An RTSTRUCT with corners in (row, column) of an image, and mm away from its plane."""
    rtstruct = pydicom.Dataset()
    rtstruct.SOPClassUID, rtstruct.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    rtstruct.StudyInstanceUID, rtstruct.SeriesInstanceUID = (
        series[0].StudyInstanceUID,
        generate_uid(),
    )
    rtstruct.PatientID, rtstruct.Modality = series[0].PatientID, "RTSTRUCT"
    rtstruct.StructureSetLabel, rtstruct.ApprovalStatus = "by hand", "APPROVED"
    rtstruct.StructureSetDate, rtstruct.StructureSetTime = "20250304", "120000"
    roi, outlined = pydicom.Dataset(), pydicom.Dataset()
    roi.ROINumber = outlined.ReferencedROINumber = 4
    roi.ROIName, roi.ReferencedFrameOfReferenceUID = "GTV", series[0].FrameOfReferenceUID
    outlined.ContourSequence = [_contour(*one, kind) for one in contours]
    rtstruct.StructureSetROISequence, rtstruct.ROIContourSequence = [roi], [outlined]
    rtstruct.ensure_file_meta()
    rtstruct.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return rtstruct


def _contour(
    image: pydicom.Dataset, corners: Sequence[tuple[float, float]], off_mm: float, kind: str
) -> pydicom.Dataset:
    across, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, image.PixelSpacing)
    position = np.array(image.ImagePositionPatient, float) + off_mm * np.cross(across, down)
    points = [position + r * row_mm * down + c * column_mm * across for r, c in corners]
    contour = pydicom.Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
    contour.ContourData = [f"{number:.4f}" for point in points for number in point]
    return contour


def store(host: Host, dataset: pydicom.Dataset) -> str:
    return str(host.orthanc.call("POST", "/instances", to_bytes(dataset)).json()["ID"])


def outline_of(host: Host, series_id: str, rtstruct: str, roi: Any = 0) -> Any:
    return host.orthanc.get(f"/liver/series/{series_id}/outline?rtstruct={rtstruct}&roi={roi}")


def test_slices_come_in_order_with_what_places_them(host: Host) -> None:
    series = askew_ct("slices in order")
    series_id = host.store(series)
    stack = host.orthanc.get(f"/liver/series/{series_id}/slices")["Stack"]
    assert (stack["Rows"], stack["Columns"]) == (8, 11)
    assert stack["SpacingMm"] == [1.3, 2.1]  # between columns, between rows
    assert stack["AlongRow"] == pytest.approx(TURN[:, 0], abs=1e-4)
    assert stack["DownColumn"] == pytest.approx(TURN[:, 1], abs=1e-4)
    offsets = [one["OffsetMm"] for one in stack["Slices"]]
    assert np.diff(offsets) == pytest.approx([4.0] * 4, abs=1e-2)
    uids = [
        host.orthanc.get(f"/instances/{one['Instance']}")["MainDicomTags"]["SOPInstanceUID"]
        for one in stack["Slices"]
    ]
    normal = np.cross(TURN[:, 0], TURN[:, 1])
    expected = sorted(series, key=lambda one: np.array(one.ImagePositionPatient, float) @ normal)
    assert uids == [str(one.SOPInstanceUID) for one in expected]
    assert offsets[0] == pytest.approx(
        np.array(expected[0].ImagePositionPatient, float) @ normal, abs=0.05
    )


def test_an_outline_is_told_in_pixels_of_the_slice_it_lies_on(host: Host) -> None:
    series = askew_ct("outlined askew")
    series_id = host.store(series)
    in_order = [series[n] for n in (1, 3, 4, 0, 2)]
    second, fourth = in_order[1], in_order[3]
    small = [(0.25, 0.5), (0.25, 1.75), (2.0, 1.75)]
    rtstruct = store(
        host,
        drawn_on(series, [(fourth, BENT, 0.0), (second, BENT, 0.3), (fourth, small, 0.0)]),
    )
    shown = host.orthanc.get(f"/liver/series/{series_id}/outlines")
    [one] = [one for one in shown if one["Rtstruct"] == rtstruct]
    assert one == {
        "Rtstruct": rtstruct,
        "Roi": 0,
        "Name": "GTV",
        "Label": "by hand",
        "Date": "20250304120000",
        "Approval": "APPROVED",
    }
    told = outline_of(host, series_id, rtstruct)
    # The writer's slice axis runs against the normal, along which slices are counted.
    assert {n: len(found) for n, found in told["Slices"].items()} == {"1": 2, "3": 1}
    assert told["NotShown"] == 0
    for found in told["Slices"].values():
        columns_and_rows = np.array(found[0]).reshape(-1, 2) / told["PartsOfPixel"]
        assert columns_and_rows == pytest.approx(np.array(BENT)[:, ::-1], abs=0.02)


def test_what_lies_on_no_slice_or_encloses_nothing_is_counted(host: Host) -> None:
    series = askew_ct("outlined beside")
    series_id = host.store(series)
    last, first = series[1], series[2]
    off = [(last, BENT, 2.5), (last, BENT, 1.0), (last, BENT, -2.5), (first, BENT, -2.5)]
    off.append((first, [], 0.0))
    told = outline_of(host, series_id, store(host, drawn_on(series, off)))
    assert {n: len(found) for n, found in told["Slices"].items()} == {"4": 1, "3": 1}
    assert told["NotShown"] == 3
    points = store(host, drawn_on(series, [(last, BENT, 0.0)], kind="POINT"))
    assert outline_of(host, series_id, points) | {"PartsOfPixel": 0} == {
        "PartsOfPixel": 0,
        "NotShown": 1,
        "Slices": {},
    }


def test_outlines_of_another_ct_are_not_offered(host: Host) -> None:
    series = askew_ct("offered here")
    series_id = host.store(series)
    elsewhere = drawn_on(series, [(series[0], BENT, 0.0)])
    elsewhere.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = generate_uid()
    rtstruct = store(host, elsewhere)
    shown = host.orthanc.get(f"/liver/series/{series_id}/outlines")
    assert rtstruct not in [one["Rtstruct"] for one in shown]


def test_what_cannot_be_shown_is_refused(host: Host) -> None:
    series = askew_ct("cannot be shown")
    series_id = host.store(series)
    rtstruct = store(host, drawn_on(series, [(series[0], BENT, 0.0)]))
    for query, sentence in (
        ("", "not the id of an RTSTRUCT"),
        (f"?rtstruct={NO_RESOURCE}&roi=0", "not the id of an RTSTRUCT"),
        (f"?rtstruct={rtstruct}&roi=1", "no such ROI"),
        (f"?rtstruct={rtstruct}", "no such ROI"),
    ):
        answer = host.orthanc.call("GET", f"/liver/series/{series_id}/outline{query}")
        status, message = error_of(answer)
        assert (status, sentence in message) == (400, True), message
    placeless = askew_ct("without a place")
    for dataset in placeless:
        del dataset.ImagePositionPatient
    lost = host.store(placeless)
    for route in ("slices", "outlines"):
        status, message = error_of(host.orthanc.call("GET", f"/liver/series/{lost}/{route}"))
        assert (status, "where they lie" in message) == (400, True)
        missing = host.orthanc.call("GET", f"/liver/series/{NO_RESOURCE}/{route}")
        assert error_of(missing)[0] == 404


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
@pytest.mark.parametrize(
    "asked", ["outlines", "outline?rtstruct={}&roi=0", "slices"], ids=lambda one: one[:8]
)
def test_the_index_is_asked_for_all_images_once(
    host: FakeHost, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = askew_ct(f"asked once for {asked}")
    series_id = host.store(ct)
    rtstruct = store(host, drawn_on(ct, [(one, BENT, 0.0) for one in ct]))
    host.ended_job_of(series_id)
    archive, paths = host.orthanc.archive, []
    answer = archive.rest

    def noted(method: str, uri: str, body: bytes = b"") -> bytes:
        if not current_thread().name.startswith("liver-"):  # which compares it meanwhile
            paths.append(uri)
        return answer(method, uri, body)

    monkeypatch.setattr(archive, "rest", noted)
    host.orthanc.get(f"/liver/series/{series_id}/{asked.format(rtstruct)}")
    assert paths.count(f"/series/{series_id}/instances") == 1
    paths.clear()
    body = {"Method": "resin", "HeightM": 1.75, "WeightKg": 70, "LiverMl": 1800, "LungShunt": 0.05}
    body |= {"TumourRoi": "GTV", "Rtstruct": rtstruct}
    host.orthanc.post(f"/liver/series/{series_id}/activity", body)
    assert paths.count(f"/series/{series_id}/instances") == 1
