"""Volumes from ROIs that somebody else outlined, through a real Orthanc."""

from __future__ import annotations

from collections.abc import Sequence
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
        ({"TumourMl": 1, "Store": "SR"}, "Store must be a list of SEG and SR"),
        ({"TumourMl": 1, "Store": ["RTSTRUCT"]}, "Store must be a list of SEG and SR"),
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
    chosen = ask(host, series_id, **GIVEN, TumourRoi="twice", Rtstruct=ids[2])
    assert origins(chosen)["TumourMl"][0] == pytest.approx(BOX_ML, rel=1e-6)


def test_storing_needs_a_segmentation_that_stands(host: Host) -> None:
    host.engine.behave("no liver found")
    series_id = host.upload("nothing to store")
    host.ended_job_of(series_id)
    status, message = refusal(host, series_id, GIVEN | {"TumourMl": 1, "Store": ["SR"]})
    assert (status, "came to no liver volume" in message) == (409, True)
