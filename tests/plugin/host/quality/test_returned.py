"""What a physician drew on a CT that we segmented is compared with ours, and nothing else is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pydicom
import pytest
from pydicom.uid import SegmentationStorage, generate_uid

from tests.plugin.host.conftest import Host, only_real
from tests.plugin.host.quality.drawn import (
    BOX_DSC,
    BOX_ML,
    OURS_ML,
    SLICES,
    VOXEL_ML,
    compared,
    comparisons,
    ct,
    liver,
    returned,
    segmented,
    settle,
)
from tests.plugin.host.review.test_outlines import store
from tests.support.patience import wait_for


@only_real
def test_an_outline_that_comes_back_is_measured(host: Host) -> None:
    pytest.importorskip("highdicom", reason="the plugin's own process measures it")
    series, series_id = segmented(host, "comes back")
    host.engine.behave(real_documents=True)
    instance = returned(host, liver(series, ROIName="LIVER"))
    found = compared(host, series_id, instance)
    assert found["Dsc"] == pytest.approx(BOX_DSC, abs=1e-4)
    assert found["Rv"] == found["Ra"] == pytest.approx(OURS_ML / BOX_ML, abs=1e-4)
    assert found["TheirsMl"] == pytest.approx(BOX_ML, abs=0.1)
    assert 3 < found["MdaMm"] < 60
    assert found["WorstSlice"] == SLICES  # which the physician left empty
    assert found["WorstMl"] == pytest.approx(32 * 32 * VOXEL_ML, abs=0.01)
    assert (found["Kind"], found["Roi"], found["Reason"]) == ("RTSTRUCT", "LIVER", "")
    seg = compared(host, series_id, returned(host, segmentation(series, "liver")))
    on_one_slice_ml = 23 * 25 * VOXEL_ML
    dsc = 2 * on_one_slice_ml / (on_one_slice_ml + OURS_ML)
    assert (seg["Kind"], seg["Reason"]) == ("SEG", "")
    assert seg["Dsc"] == pytest.approx(dsc, abs=1e-4)


def test_an_outline_that_comes_back_is_kept_with_its_series(host: Host) -> None:
    series, series_id = segmented(host, "kept with its series")
    instance = store(host, liver(series, ROIName="LIVER"))
    host.orthanc.call("PUT", f"/instances/{instance}/metadata/3001", b"of others")
    settle(host, instance)
    found = compared(host, series_id, instance)
    assert (found["Dsc"], found["WorstSlice"], found["WorstMl"]) == (0.9, 3, 12.5)
    assert host.engine.comparisons()[-1]["roi"] == "LIVER"
    assert (found["Sha256"], found["Model"]) == ("a" * 64, "scripted")
    job = host.jobs_of(series_id)[-1]
    assert (found["Job"], found["Ours"]) == (job["ID"], job["Content"]["Result"]["Instance"])
    note = json.loads(host.orthanc.call("GET", f"/series/{series_id}/metadata/4507").content)
    assert (note["Version"], note["Comparisons"]) == (1, [found])
    line = f"outline returned: Series={series_id} Instance={instance}"
    wait_for("the log", lambda: line in host.orthanc.log())


def test_who_stored_it_is_told(host: Host) -> None:
    series, series_id = segmented(host, "who stored it")
    drawn = liver(series)
    host.orthanc.send([drawn])
    [found] = wait_for("the comparison", lambda: comparisons(host, series_id))
    assert found["StoredBy"] == "SENDER"
    assert found["SopInstanceUid"] == drawn.SOPInstanceUID


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_a_user_goes_before_an_ae_title_and_never_into_the_log(host: Host) -> None:
    series, series_id = segmented(host, "a user")
    instance = store(host, liver(series))
    for name, value in (("HttpUsername", b"dr. jones"), ("Origin", b"RestApi")):
        host.orthanc.call("PUT", f"/instances/{instance}/metadata/{name}", value)
    settle(host, instance)
    found = compared(host, series_id, instance)
    assert (found["StoredBy"], found["Origin"]) == ("dr. jones", "RestApi")
    assert "jones" not in host.orthanc.log()


Change = Callable[[pydicom.Dataset], None]


def ours(drawn: pydicom.Dataset) -> None:
    drawn.Manufacturer = "orthanc-liver"


def automatic(drawn: pydicom.Dataset) -> None:
    drawn.StructureSetROISequence[0].ROIGenerationAlgorithm = "AUTOMATIC"


def kidney(drawn: pydicom.Dataset) -> None:
    drawn.StructureSetROISequence[0].ROIName = "Liver lobe, right"


def elsewhere(drawn: pydicom.Dataset) -> None:
    [frame] = drawn.ReferencedFrameOfReferenceSequence
    [study] = frame.RTReferencedStudySequence
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()


@pytest.mark.parametrize(
    "change", [ours, automatic, kidney, elsewhere], ids=lambda one: one.__name__
)
def test_what_is_no_physicians_liver_on_this_ct_is_left_alone(host: Host, change: Change) -> None:
    series, series_id = segmented(host, f"left alone: {change.__name__}")
    drawn = liver(series)
    change(drawn)
    left = returned(host, drawn)
    after = returned(host, liver(series))
    compared(host, series_id, after)
    assert left not in [one["Instance"] for one in comparisons(host, series_id)]


def test_what_a_program_drew_and_a_physician_approved_is_the_physicians(host: Host) -> None:
    series, series_id = segmented(host, "came back approved")
    drawn = liver(series, ROIGenerationAlgorithm="AUTOMATIC")
    drawn.ApprovalStatus = "APPROVED"
    assert compared(host, series_id, returned(host, drawn))["Approval"] == "APPROVED"


def test_what_came_of_an_acceptance_is_ours(host: Host) -> None:
    series, series_id = segmented(host, "accepted here")
    job = host.jobs_of(series_id)[-1]
    outline = job["Content"]["Result"]["Instance"]
    body = {"Verdict": "accepted", "Rtstruct": outline, "By": "A. Physician"}
    host.orthanc.post(f"/liver/series/{series_id}/decision", body)
    copies = [one for one in host.rtstructs_beside(series_id) if one != outline]
    assert len(copies) == 1
    settle(host, copies[0])
    after = returned(host, liver(series))
    compared(host, series_id, after)
    assert [one["Instance"] for one in comparisons(host, series_id)] == [after]


def segmentation(series: list[pydicom.FileDataset], label: str) -> pydicom.Dataset:
    """A SEG with the box on the first slice alone."""
    seg = pydicom.Dataset()
    seg.ensure_file_meta()
    seg.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    seg.SOPClassUID, seg.SOPInstanceUID = SegmentationStorage, generate_uid()
    seg.StudyInstanceUID, seg.SeriesInstanceUID = series[0].StudyInstanceUID, generate_uid()
    seg.PatientID, seg.Modality = series[0].PatientID, "SEG"
    seg.FrameOfReferenceUID = series[0].FrameOfReferenceUID
    seg.Rows, seg.Columns, seg.NumberOfFrames = series[0].Rows, series[0].Columns, 1
    seg.SegmentationType, seg.SamplesPerPixel = "BINARY", 1
    seg.PhotometricInterpretation, seg.PixelRepresentation = "MONOCHROME2", 0
    seg.BitsAllocated = seg.BitsStored = 1
    seg.HighBit = 0
    referenced, segment, frame, own, plane, orientation, measures = (
        pydicom.Dataset() for _ in range(7)
    )
    referenced.SeriesInstanceUID = series[0].SeriesInstanceUID
    seg.ReferencedSeriesSequence = [referenced]
    segment.SegmentNumber, segment.SegmentLabel = 1, label
    segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
    seg.SegmentSequence = [segment]
    first = min(series, key=lambda one: float(one.ImagePositionPatient[2]))
    own.ReferencedSegmentNumber = 1
    plane.ImagePositionPatient = first.ImagePositionPatient
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    measures.PixelSpacing = first.PixelSpacing
    frame.SegmentIdentificationSequence, frame.PlanePositionSequence = [own], [plane]
    frame.PlaneOrientationSequence, frame.PixelMeasuresSequence = [orientation], [measures]
    seg.PerFrameFunctionalGroupsSequence = [frame]
    pixels = [3 <= r < 26 and 5 <= c < 30 for r in range(seg.Rows) for c in range(seg.Columns)]
    packed = [pixels[n : n + 8] for n in range(0, len(pixels), 8)]
    seg.PixelData = bytes(sum(bit << n for n, bit in enumerate(byte)) for byte in packed)
    return seg


def test_what_cannot_be_compared_says_why(host: Host) -> None:
    series, series_id = segmented(host, "cannot be compared")
    host.engine.behave(dsc=0)
    found = compared(host, series_id, returned(host, segmentation(series, "LIVER")))
    assert (found["Dsc"], found["Rv"]) == (None, None)
    assert found["Reason"] == "the returned outline was told so"


def test_what_was_there_before_our_outline_is_compared_with_it(host: Host) -> None:
    series = ct("before ours")
    host.engine.behave("segmented", seconds=1.0)
    instance = returned(host, liver(series))
    series_id = host.store(series)
    assert compared(host, series_id, instance)["Dsc"] == 0.9


def table(host: Host) -> list[dict[str, Any]]:
    answer = host.orthanc.call("GET", "/liver/quality")
    assert answer.headers["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(StringIO(answer.text)))


def test_the_table_tells_of_each_until_its_study_is_deleted(host: Host) -> None:
    series, series_id = segmented(host, "in the table")
    first = returned(host, liver(series))
    compared(host, series_id, first)
    approved = liver(series, ((3.5, 4.5), (33.5, 37.5)))
    approved.ApprovalStatus = "APPROVED"
    second = returned(host, approved)
    compared(host, series_id, second)
    mine = [one for one in table(host) if one["series"] == series_id]
    assert [(one["instance"], one["is_case"]) for one in mine] == [(first, "no"), (second, "yes")]
    assert (mine[0]["dsc"], mine[0]["reason"]) == ("0.9", "")
    study = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    host.orthanc.call("DELETE", f"/studies/{study}")
    wait_for("its end", lambda: series_id not in [one["series"] for one in table(host)])


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_a_table_is_no_program(host: Host) -> None:
    series, series_id = segmented(host, "a program")
    instance = store(host, liver(series))
    path = f"/instances/{instance}/metadata/HttpUsername"
    host.orthanc.call("PUT", path, b'=HYPERLINK("http://x","y")')
    settle(host, instance)
    compared(host, series_id, instance)
    [mine] = [one for one in table(host) if one["series"] == series_id]
    assert mine["stored_by"].startswith("'=")


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_an_edited_copy_takes_the_place_of_what_it_was(host: Host) -> None:
    series, series_id = segmented(host, "edited again")
    drawn = liver(series)
    instance = returned(host, drawn)
    before = compared(host, series_id, instance)
    host.engine.behave(dsc=0.95)
    edited = liver(series, ((0.5, 0.5), (38.5, 38.5)))
    edited.SOPInstanceUID = edited.file_meta.MediaStorageSOPInstanceUID = drawn.SOPInstanceUID
    edited.SeriesInstanceUID = drawn.SeriesInstanceUID
    host.orthanc.call("DELETE", f"/instances/{instance}")
    assert store(host, edited) == instance
    settle(host, instance)

    def again() -> list[dict[str, Any]] | None:
        found = comparisons(host, series_id)
        return found if found[0]["Md5"] != before["Md5"] else None

    [after] = wait_for("another comparison", again)
    assert (before["Dsc"], after["Dsc"]) == (0.9, 0.95)


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_nothing_is_compared_while_a_job_waits(host: Host) -> None:
    series, series_id = segmented(host, "after the jobs")
    host.engine.behave("hang", times=1)
    waiting = host.segment(host.upload("the job that goes first"))
    host.job_in_engine(waiting)
    instance = returned(host, liver(series))
    host.orthanc.get("/liver/status")
    assert comparisons(host, series_id) == []
    host.orthanc.post(f"/liver/jobs/{waiting}/cancel")
    compared(host, series_id, instance)
