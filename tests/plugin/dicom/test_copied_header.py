"""No header costs a result, and none files it elsewhere: RTSTRUCT, SEG and SR bear the CT's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian

from orthanc_liver.dicom.contours import Contour
from orthanc_liver.dicom.copied_header import copied_header
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from orthanc_liver.dicom.segmentation import build_segmentation
from orthanc_liver.dicom.structured_report import build_report
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.bad_input import renamed, tiny_slices
from tests.support.ct_writer import to_bytes as ct_to_bytes

pytestmark = pytest.mark.filterwarnings("ignore:.*")

_PROVENANCE = Provenance("1.2.3", "liver-unet compact", "0123456789abcdef" * 4)
_CREATED = datetime(2025, 3, 4, 5, 6, 7)
Edit = Callable[[FileDataset, int], None]


def edited(edit: Edit) -> CtSeries:
    """Read the tiny series with each slice (and its number) edited."""
    slices = tiny_slices()
    with pydicom.config.disable_value_validation():
        for number, image in enumerate(slices):
            edit(image, number)
        return read_ct_series([ct_to_bytes(image) for image in slices])


def written(keyword: str, vr: str, value: object, character_set: str = "ISO_IR 192") -> Edit:
    """Each slice has the value as it stands, against all rules."""

    def edit(image: FileDataset, _: int) -> None:
        image.SpecificCharacterSet = character_set
        image[keyword] = DataElement(keyword, vr, value, already_converted=True)

    return edit


def results(series: CtSeries) -> dict[str, pydicom.Dataset]:
    """RTSTRUCT (its contour too long for explicit VR), SEG and SR, written and read again."""
    turn = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    index = np.column_stack([np.full(4000, 3.0), 3 + 2 * np.cos(turn), 4 + 3 * np.sin(turn)])
    contour = Contour(3, np.round(series.volume.grid.to_mm(index), 4))
    style = RoiStyle()
    with pydicom.config.disable_value_validation():
        rtstruct = build_rtstruct(series, [contour], _PROVENANCE, style, _CREATED)
        mask = np.zeros(series.volume.grid.shape, dtype=bool)
        mask[3:5, 2:4, 3:6] = True
        seg = build_segmentation(series, mask, _PROVENANCE, style, _CREATED)
        report = build_report(series, seg, 1.5, None, _PROVENANCE, style, _CREATED)
        return {
            name: pydicom.dcmread(BytesIO(to_bytes(one)))
            for name, one in (("RTSTRUCT", rtstruct), ("SEG", seg), ("SR", report))
        }


def bytes_of(dataset: pydicom.Dataset, keyword: str) -> bytes:
    return bytes(dataset.get_item(keyword).value).rstrip(b"\0 ")


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        pytest.param("PatientID", "LO", "Müller 7".encode("latin-1"), id="Latin-1"),
        pytest.param("PatientID", "LO", "肝脏-7".encode("gbk"), id="GBK"),
        pytest.param("PatientID", "LO", b"P" * 80, id="80 characters"),
        pytest.param("AccessionNumber", "SH", b"A" * 20, id="accession number"),
        pytest.param("StudyID", "SH", b"longer than sixteen", id="study id"),
    ],
)
def test_what_a_result_is_filed_by_is_the_ct_s_to_the_byte(
    keyword: str, vr: str, value: bytes
) -> None:
    for one in results(edited(written(keyword, vr, value))).values():
        assert bytes_of(one, keyword) == value


@pytest.mark.parametrize(
    ("keyword", "vr"),
    [
        ("StudyDescription", "LO"),
        ("PatientComments", "LT"),
        ("PatientAddress", "LO"),
        ("EthnicGroup", "SH"),
        ("AdmissionID", "LO"),
        ("PatientName", "PN"),
    ],
)
@pytest.mark.parametrize("character_set", ["ISO_IR 192", "ISO_IR 127", "GB18030"])
def test_text_of_another_character_set_keeps_its_bytes(
    keyword: str, vr: str, character_set: str
) -> None:
    value: object = b"M\xfcller\xff"
    if vr == "PN":
        value = pydicom.valuerep.PersonName(b"M\xfcller\xff")
    rtstruct = results(edited(written(keyword, vr, value, character_set)))["RTSTRUCT"]
    assert bytes_of(rtstruct, keyword) == b"M\xfcller\xff"
    assert rtstruct.SpecificCharacterSet == character_set


def test_text_within_a_sequence_keeps_its_bytes_too() -> None:
    def edit(image: FileDataset, _: int) -> None:
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator = "A1", "99LOCAL"
        item.add(DataElement("CodeMeaning", "LO", b"Bauch \xfc", already_converted=True))
        item.add(DataElement("InstitutionAddress", "ST", b"Stra\xdfe", already_converted=True))
        item.add(DataElement("LongCodeValue", "UC", b"lang \xfc", already_converted=True))
        item.add(DataElement("UniversalEntityID", "UT", b"Text \xfc", already_converted=True))
        image.SpecificCharacterSet = "ISO_IR 192"
        image.ProcedureCodeSequence = [item]

    rtstruct = results(edited(edit))["RTSTRUCT"]
    [copied] = rtstruct.ProcedureCodeSequence
    assert bytes_of(copied, "CodeMeaning") == b"Bauch \xfc"
    assert bytes_of(copied, "InstitutionAddress") == b"Stra\xdfe"
    assert bytes_of(copied, "LongCodeValue") == b"lang \xfc"
    assert bytes_of(copied, "UniversalEntityID") == b"Text \xfc"


def _with_uid(keyword: str, uid: str, image: FileDataset, number: int) -> None:
    if keyword == "SOPInstanceUID":
        renamed(image, f"{uid}.{number}")
    else:
        image[keyword].value = UID(uid)


@pytest.mark.parametrize("uid", ["1.2.003.4", "1.2." + "3" * 70], ids=["leading zeros", "long"])
@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"]
)
def test_uids_that_break_the_rules_are_referred_to_as_they_are(keyword: str, uid: str) -> None:
    series = edited(partial(_with_uid, keyword, uid))
    for name, one in results(series).items():
        assert one.StudyInstanceUID == series.header.StudyInstanceUID
        if name == "RTSTRUCT":
            (frame,) = one.ReferencedFrameOfReferenceSequence
            (study,) = frame.RTReferencedStudySequence
            (ct,) = study.RTReferencedSeriesSequence
            images = [item.ReferencedSOPInstanceUID for item in ct.ContourImageSequence]
            assert tuple(images) == series.sop_instance_uids
            assert ct.SeriesInstanceUID == series.header.SeriesInstanceUID
            assert frame.FrameOfReferenceUID == series.header.FrameOfReferenceUID


def test_another_vr_than_the_dictionary_s_spoils_no_rtstruct() -> None:
    """(0012,0064) is a sequence; as text it makes an implicit VR file that nobody can read."""
    series = edited(written("DeidentificationMethodCodeSequence", "LO", "anonymous"))
    assert series.warnings == (
        "DeidentificationMethodCodeSequence of the first slice cannot be read and was left out.",
    )
    rtstruct = results(series)["RTSTRUCT"]
    assert rtstruct.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert "DeidentificationMethodCodeSequence" not in rtstruct
    assert len(rtstruct.ROIContourSequence[0].ContourSequence) == 1


@pytest.mark.parametrize(
    "keyword", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"]
)
def test_what_a_result_is_filed_by_is_never_left_out(keyword: str) -> None:
    """It claims to be a number, and is none."""
    damaged, other = pydicom.Dataset(), pydicom.Dataset()
    for dataset, name in ((damaged, keyword), (other, "PatientComments")):
        tag = Tag(name)
        dataset[tag] = RawDataElement(tag, "FD", 10, b"PHANTOM-1 ", 0, False, True)
    with pytest.raises(SeriesRefused, match=f"^{keyword} of the first slice cannot be read"):
        copied_header(damaged, [])
    notes: list[str] = []
    assert not copied_header(other, notes)
    assert notes == ["PatientComments of the first slice cannot be read and was left out."]


def test_text_in_the_place_of_a_number_becomes_no_other_number() -> None:
    """In implicit VR the text 2 would be read as the number 8242; that of DS stays text."""

    def edit(image: FileDataset, _: int) -> None:
        code = pydicom.Dataset()
        code.add(DataElement("RecommendedDisplayCIELabValue", "LO", "2"))
        image.add(DataElement("PregnancyStatus", "LO", "2"))
        image.add(DataElement("PatientWeight", "LO", "70"))
        image.ProcedureCodeSequence = [code]

    series = edited(edit)
    assert series.warnings == tuple(
        f"{keyword} of the first slice cannot be read and was left out."
        for keyword in ("ProcedureCodeSequence", "PregnancyStatus")
    )
    rtstruct = results(series)["RTSTRUCT"]
    assert "PregnancyStatus" not in rtstruct
    assert rtstruct.PatientWeight == 70


def test_private_attributes_within_a_sequence_are_not_copied() -> None:
    def edit(image: FileDataset, _: int) -> None:
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "A1", "99LOCAL", "Bauch"
        item.private_block(0x0009, "A MAKER", create=True).add_new(1, "LO", "Secret")
        image.ProcedureCodeSequence = [item]

    for one in results(edited(edit)).values():
        assert not any(element.tag.is_private for element in one.iterall())


def test_identity_is_refused_rather_than_left_out() -> None:
    """A PatientID that claims to be a sequence and is none."""
    slices = tiny_slices()
    files = [ct_to_bytes(image) for image in slices]
    sound, damaged = (
        b"\x10\x00\x20\x00LO\x0a\x00PHANTOM-1 ",
        b"\x10\x00\x20\x00FD\x0a\x00PHANTOM-1 ",
    )
    assert all(sound in file for file in files)
    with pytest.raises(SeriesRefused):
        read_ct_series([file.replace(sound, damaged) for file in files])
