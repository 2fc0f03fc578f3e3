"""Every kind of object in one real Orthanc with the real engine: found, valid, of one mind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pypdf import PdfReader

from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.roi_choice import LIVER
from orthanc_liver.engine.protocol import Kind
from orthanc_liver.evaluation.outlines import read_contour
from tests.support.case_writer import write_ct_folder
from tests.support.judges import dciodvfy_errors
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import wait_for
from tests.support.phantom import abdomen, oriented

GIVEN = {"Method": "resin", "TumourMl": 20, "HeightM": 1.75, "WeightKg": 70, "LungShunt": 0.12}


class Hospital:
    """An Orthanc that has segmented one CT, and that CT on disk."""

    def __init__(self, orthanc: OrthancServer, folder: Path) -> None:
        self.orthanc, self.folder = orthanc, folder
        # A header as scanners leave it.
        phantom = oriented(abdomen((44, 90, 120), (6.5, 3.6, 3.3)), "FFS")
        slices = write_ct_folder(folder / "ct", phantom, "stored objects")
        for path in (folder / "ct").iterdir():
            one = pydicom.dcmread(path)
            del one.StudyID, one.ReferringPhysicianName
            one.SpacingBetweenSlices = -6.5
            one.save_as(path)
            orthanc.call("POST", "/instances", path.read_bytes())
        [found] = orthanc.lookup(str(slices[0].SeriesInstanceUID))
        self.series_id, self.study_uid = found["ID"], str(slices[0].StudyInstanceUID)

        def ended() -> dict[str, Any] | None:
            jobs = orthanc.get("/liver/jobs?expand")
            return jobs[0] if jobs and jobs[0]["State"] in ("Success", "Failure") else None

        self.job: dict[str, Any] = wait_for("the job", ended, 60)

    def over_dicomweb(self, modality: str) -> list[pydicom.Dataset]:
        """Every instance of a modality in the study, by QIDO-RS and WADO-RS."""
        query = f"/dicom-web/studies/{self.study_uid}/instances?Modality={modality}"
        found = self.orthanc.get(query)
        uids = [str(one["00080018"]["Value"][0]) for one in found]
        ids = [self.orthanc.lookup(uid)[0]["ID"] for uid in uids]
        files = [self.orthanc.call("GET", f"/instances/{one}/file").content for one in ids]
        return [pydicom.dcmread(BytesIO(one)) for one in files]

    def judged(self, dataset: pydicom.Dataset) -> list[str]:
        """What dciodvfy calls an error."""
        path = self.folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path)
        return dciodvfy_errors(path)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("hospital")
    ours = {"Store": list(Kind), "Device": "cpu", "MinimumSlices": 20}
    with OrthancServer(folder / "orthanc", {"StableAge": 1, "LiverSegmentation": ours}) as orthanc:
        yield Hospital(orthanc, folder)


def comments_of(item: pydicom.Dataset) -> list[str]:
    """Every text in a structured report."""
    own = [str(item.TextValue)] if "TextValue" in item else []
    return own + [text for child in item.get("ContentSequence", []) for text in comments_of(child)]


def numbers_of(report: pydicom.Dataset) -> dict[str, float]:
    """Every number in a structured report by the meaning of its name."""
    found = {}

    def walk(item: pydicom.Dataset) -> None:
        if item.get("ValueType") == "NUM":
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            found[name] = float(item.MeasuredValueSequence[0].NumericValue)
        for child in item.get("ContentSequence", []):
            walk(child)

    walk(report)
    return found


def test_outline_mask_and_report_are_stored_by_the_job_and_say_the_same(hospital: Hospital) -> None:
    assert hospital.job["Content"]["Outcome"] == "segmented", hospital.job
    further = hospital.job["Content"]["Result"]["Further"]
    assert list(dict.fromkeys(one["Kind"] for one in further)) == ["SEG", "SR", "SC", "PDF"]
    [rtstruct], [seg], [report] = (hospital.over_dicomweb(m) for m in ("RTSTRUCT", "SEG", "SR"))
    for one in (rtstruct, seg, report):
        assert hospital.judged(one) == []
    ct = read_ct(hospital.folder / "ct")
    grid = ct.volume.grid
    outlined, segmented = (
        read_contour(hospital.folder / f"{one.SOPInstanceUID}.dcm", LIVER, ct).mask
        for one in (rtstruct, seg)
    )
    np.testing.assert_array_equal(outlined, segmented)
    liver_ml = outlined.sum() * grid.voxel_ml
    assert numbers_of(report) == {"Volume": pytest.approx(liver_ml, rel=1e-6)}
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referenced = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    assert seg.SOPInstanceUID in referenced
    assert len(referenced) == 1 + grid.shape[0]
    assert "For review by a physician; not a medical device." in comments_of(report)
    assert seg.ContentDescription == "For review by a physician; not a medical device."


def test_an_activity_is_stored_once_and_with_the_same_seg(hospital: Hospital) -> None:
    route = f"/liver/series/{hospital.series_id}/activity"
    answers = [hospital.orthanc.post(route, GIVEN | {"Store": ["SR"]}) for _ in range(2)]
    assert answers[0]["Stored"] == answers[1]["Stored"]
    seg, report = answers[0]["Stored"]
    [only_seg] = hospital.over_dicomweb("SEG")  # that of the job, written anew to the same UID
    assert seg["SopInstanceUid"] == only_seg.SOPInstanceUID
    [stored] = [
        one
        for one in hospital.over_dicomweb("SR")
        if one.SOPInstanceUID == report["SopInstanceUid"]
    ]
    assert len(hospital.over_dicomweb("SR")) == 2
    assert hospital.judged(stored) == []
    numbers = numbers_of(stored)
    assert numbers["activity"] == pytest.approx(answers[0]["ActivityGbq"], rel=1e-9)
    assert numbers["Body Surface Area"] == pytest.approx(1.8481190138, rel=1e-9)
    assert numbers["tumour volume in the whole liver"] == 20
    comments = comments_of(stored)
    assert "body surface area: BSA = 0.20247 * H^0.725 * W^0.425" in comments
    outlined = "liver volume, tumour included: area of the ROI's contours x slice distance"
    assert any(comment.startswith(outlined) for comment in comments)
    assert "Warning: the lung shunt, 12 %, is not below 10 %: the activity is reduced to 80 %" in (
        comments
    )
    assert not [one for one in comments if one.startswith("No activity")]


def test_another_program_reads_the_report(hospital: Hospital) -> None:
    """dcmtk's dsrdump walks the tree by its own idea of what a report may hold."""
    [report, *_] = hospital.over_dicomweb("SR")
    path = hospital.folder / "report.dcm"
    report.save_as(path)
    done = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Imaging Measurement Report" in done.stdout


def test_orthanc_shows_the_pictures_and_gives_the_pages(hospital: Hospital) -> None:
    pictures, [sheet, *_] = (hospital.over_dicomweb(modality) for modality in ("OT", "DOC"))
    [rtstruct] = hospital.over_dicomweb("RTSTRUCT")
    outlined = {
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        for contour in rtstruct.ROIContourSequence[0].ContourSequence
    }
    shown = [one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in pictures]
    assert sorted(shown) == sorted(outlined)
    for one in (*pictures[:2], sheet):
        assert hospital.judged(one) == []
        assert one.SeriesDescription == rtstruct.SeriesDescription
    [found] = hospital.orthanc.lookup(str(pictures[0].SOPInstanceUID))
    preview = hospital.orthanc.call("GET", f"{found['Path']}/preview").content
    np.testing.assert_array_equal(Image.open(BytesIO(preview)), pictures[0].pixel_array)
    [found] = hospital.orthanc.lookup(str(sheet.SOPInstanceUID))
    pdf = hospital.orthanc.call("GET", f"{found['Path']}/pdf").content
    assert "Liver: " in PdfReader(BytesIO(pdf)).pages[0].extract_text()


def test_an_activity_is_a_page_of_the_sheet(hospital: Hospital) -> None:
    route = f"/liver/series/{hospital.series_id}/activity"
    answers = [hospital.orthanc.post(route, GIVEN | {"Store": ["PDF"]}) for _ in range(2)]
    assert answers[0]["Stored"] == answers[1]["Stored"]
    [stored] = answers[0]["Stored"]
    pdf = hospital.orthanc.call("GET", f"/instances/{stored['Instance']}/pdf").content
    text = " ".join(PdfReader(BytesIO(pdf)).pages[-1].extract_text().split())
    assert f"activity: {answers[0]['ActivityGbq']:.2f} GBq" in text
    assert "BSA = 0.20247 * H^0.725 * W^0.425" in text
