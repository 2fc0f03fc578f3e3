"""The pages of a result, read by another program."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pypdf import PdfReader

from orthanc_liver.dicom.captions import in_letters_of
from orthanc_liver.dicom.encapsulated_pdf import build_pdf, sheet_of
from orthanc_liver.dicom.result import to_bytes
from orthanc_liver.dicom.sheet import Sheet
from orthanc_liver.engine.protocol import DOUBTFUL, LOOK
from orthanc_liver.sirt.activity import compute_activity
from orthanc_liver.sirt.inputs import read_inputs
from tests.plugin.dicom.test_secondary_capture import CREATED, MADE_BY, ct, outlined
from tests.support.judges import dciodvfy_errors, program, succeed

WARNINGS = [
    f"look first at slices {n}-{n + 3}: of 48 outlines like this 24 were wrong" for n in range(40)
]
GIVEN = {"LiverMl": 1512, "TumourMl": 20, "HeightM": 1.75, "WeightKg": 70, "LungShunt": 0.12}


def sheet(name: str = "Doe^Jane", activity: str = "", grade: str = LOOK) -> Sheet:
    png = BytesIO()
    Image.new("RGB", (300, 90), (200, 10, 10)).save(png, "PNG")
    slices = outlined(ct(PatientName=name, PatientID="4711", StudyDate="20250219"))
    return sheet_of(slices, 1512.3, grade, WARNINGS, png.getvalue(), activity, MADE_BY)


def written(one: Sheet) -> pydicom.Dataset:
    return build_pdf(one, MADE_BY, CREATED)


def pages_of(dataset: pydicom.Dataset) -> list[str]:
    return [
        " ".join(p.extract_text().split())
        for p in PdfReader(BytesIO(dataset.EncapsulatedDocument)).pages
    ]


def test_every_page_says_whose_and_how_sure_and_all_warnings_are_there() -> None:
    dataset = written(sheet(grade=DOUBTFUL))
    pages = pages_of(dataset)
    for number, text in enumerate(pages, start=1):
        assert "Doe Jane, ID 4711" in text
        assert "DOUBTFUL outline: do not use it before a person has judged it." in text
        assert (
            f"For review, not for diagnosis. Not a medical device. Page {number} of {len(pages)}"
            in text
        )
    whole = " ".join(pages)
    assert "Leber: 1512 mL" in whole
    assert "study of 2025-02-19" in whole
    for one in WARNINGS:
        assert f"Warning: L{one[1:]}" in whole
    assert "Slices 3 to 8, all" in pages[-1]


@pytest.mark.filterwarnings("ignore:The (value|PN component) length")
def test_a_name_of_any_length_leaves_room_for_the_page_and_stays_as_it_is() -> None:
    long = "A{nb}B " + "x " * 4000
    series = ct(PatientName=long, PatientID=f"4711 {long}", SeriesDescription=f"S{long}")
    one = sheet_of(outlined(series), 1.0, "", (), sheet().planes_png, "", MADE_BY)
    pages = pages_of(written(one))
    assert len(pages) == 2
    for number, text in enumerate(pages, start=1):
        assert text.startswith(f"A{{nb}}B {'x ' * 96}x")
        assert ", ID 4711 A{nb}B x" in text
        assert f"Page {number} of 2" in text


def test_the_pictures_are_on_the_pages() -> None:
    dataset = written(sheet())
    found = [
        image
        for page in PdfReader(BytesIO(dataset.EncapsulatedDocument)).pages
        for image in page.images
    ]
    planes, contact = (np.asarray(Image.open(BytesIO(one.data)).convert("RGB")) for one in found)
    assert np.abs(planes.reshape(-1, 3).mean(axis=0) - (200, 10, 10)).max() < 4
    assert contact.shape[1] == 4 * outlined(ct()).mask.shape[2]


def test_the_activity_is_the_sheet_of_the_command_line() -> None:
    activity = compute_activity("resin", read_inputs(GIVEN)).as_text()
    dataset = written(sheet(activity=activity))
    whole = " ".join(pages_of(dataset))
    for line in activity.splitlines():
        assert " ".join(line.split()) in whole
    assert dataset.SOPInstanceUID != written(sheet()).SOPInstanceUID


def test_other_programs_open_it(tmp_path: Path) -> None:
    dataset = written(sheet())
    path, pdf = tmp_path / "sheet.dcm", tmp_path / "sheet.pdf"
    path.write_bytes(to_bytes(dataset))
    assert dciodvfy_errors(path) == []
    succeed([program("dcm2pdf"), str(path), str(pdf)])
    assert pdf.read_bytes() == dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]


def test_the_header_says_what_it_is() -> None:
    dataset = written(sheet())
    assert (dataset.Modality, dataset.SOPClassUID.name) == ("DOC", "Encapsulated PDF Storage")
    assert dataset.BurnedInAnnotation == "YES"
    assert "FrameOfReferenceUID" not in dataset
    series = sheet().slices.series
    assert [one.ReferencedSOPInstanceUID for one in dataset.SourceInstanceSequence] == list(
        series.sop_instance_uids
    )
    nameless = written(replace(sheet(), of_whom=""))
    assert nameless.BurnedInAnnotation == "NO"


@pytest.mark.parametrize(
    ("name", "shown", "is_told"),
    [
        ("Müller^Łukasz", "Müller ?ukasz", True),
        ("Novák^Jiří", "Novák Jirí", False),
        ("=山田^太郎", "?? ??", True),
    ],
)
def test_letters_that_the_pages_lack_are_told_of(name: str, shown: str, is_told: bool) -> None:
    slices = outlined(ct(SpecificCharacterSet="ISO_IR 192", PatientName=name, PatientID="4711"))
    one = replace(sheet(), of_whom=sheet_of(slices, 1.0, "", (), b"", "", MADE_BY).of_whom)
    whole = " ".join(pages_of(written(one)))
    assert f"{shown}, ID 4711" in whole
    assert ("Letters that these pages lack" in whole) is is_told


def test_accents_go_where_the_font_has_none() -> None:
    assert in_letters_of("ascii", "PORTAL VENÖS 5 mm²") == "PORTAL VENOS 5 mm2"
