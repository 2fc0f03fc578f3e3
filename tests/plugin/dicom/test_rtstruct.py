"""The RTSTRUCT's contents; that other programs can read it is in test_judges.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import ImplicitVRLittleEndian

from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.contours import Contour, trace_contours
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.ct_writer import to_bytes as ct_to_bytes
from tests.support.ct_writer import write_ct_series

_CREATED = datetime(2025, 3, 4, 5, 6, 7)
_PROVENANCE = Provenance("1.2.3", "liver-unet compact", "0123456789abcdef" * 4)
_GRID = Grid(
    (11, 20, 24),
    np.array([[0.2, 0.1, 0.8, -90.1], [0, 0.7, -0.1143, 12.3], [2.5, 0, 0.1, -700], [0, 0, 0, 1]]),
)


@pytest.fixture(scope="module")
def ct() -> list[pydicom.FileDataset]:
    linear = _GRID.affine[:3, :3].copy()
    linear[:, 2] -= linear[:, 1] * (linear[:, 1] @ linear[:, 2]) / (linear[:, 1] @ linear[:, 1])
    affine = _GRID.affine.copy()
    affine[:3, :3] = linear
    volume = Volume(np.zeros(_GRID.shape, dtype=np.int16), Grid(_GRID.shape, affine))
    return write_ct_series(volume)


@pytest.fixture(scope="module")
def series(ct: list[pydicom.FileDataset]) -> CtSeries:
    return read_ct_series(map(ct_to_bytes, ct))


@pytest.fixture(scope="module")
def contours(series: CtSeries) -> list[Contour]:
    return trace_contours(_probability(), series.volume.grid)


def _probability() -> NDArray[np.float32]:
    probability = np.zeros(_GRID.shape, dtype=np.float32)
    probability[2:9, 3:15, 5:21] = 0.9
    probability[4, 6:9, 8:12] = 0.2  # a hole
    probability[5, 17:19, 2:4] = 0.8  # an island
    return probability


def _built(
    series: CtSeries,
    contours: list[Contour],
    *,
    provenance: Provenance = _PROVENANCE,
    style: RoiStyle | None = None,
    created: datetime = _CREATED,
) -> pydicom.FileDataset:
    """Build, write, and read back."""
    dataset = build_rtstruct(series, contours, provenance, style or RoiStyle(), created)
    return pydicom.dcmread(BytesIO(to_bytes(dataset)))


@pytest.fixture(scope="module")
def rtstruct(series: CtSeries, contours: list[Contour]) -> pydicom.FileDataset:
    return _built(series, contours)


def _edited(ct: list[pydicom.FileDataset], edit: Callable[[pydicom.Dataset], None]) -> CtSeries:
    """Read the CT with something changed in each of its instances."""
    files = []
    for image in ct:
        copy = pydicom.dcmread(BytesIO(ct_to_bytes(image)))
        edit(copy)
        files.append(ct_to_bytes(copy))
    return read_ct_series(files)


def test_each_contour_lies_on_the_instance_it_names(
    rtstruct: pydicom.Dataset, ct: list[pydicom.FileDataset], contours: list[Contour]
) -> None:
    images = {image.SOPInstanceUID: image for image in ct}
    items = rtstruct.ROIContourSequence[0].ContourSequence
    assert len(items) == len(contours) == 8
    for item, contour in zip(items, contours, strict=True):
        assert item.ContourGeometricType == "CLOSED_PLANAR"
        points = np.array(item.ContourData, dtype=float).reshape(-1, 3)
        assert item.NumberOfContourPoints == len(points) >= 3
        assert np.array_equal(points, contour.points_mm)
        (named,) = item.ContourImageSequence
        image = images[named.ReferencedSOPInstanceUID]
        assert named.ReferencedSOPClassUID == image.SOPClassUID
        row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
        off_mm = (points - np.array(image.ImagePositionPatient, dtype=float)) @ np.cross(
            row, column
        )
        assert np.abs(off_mm).max() < 1e-3


def test_numbers_fit_16_bytes(rtstruct: pydicom.Dataset) -> None:
    for item in rtstruct.ROIContourSequence[0].ContourSequence:
        assert max(len(number.original_string) for number in item.ContourData) <= 16


def test_it_refers_to_all_of_the_ct(
    rtstruct: pydicom.Dataset, ct: list[pydicom.FileDataset]
) -> None:
    (frame,) = rtstruct.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (ct_series,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == ct[0].FrameOfReferenceUID
    assert rtstruct.FrameOfReferenceUID == ct[0].FrameOfReferenceUID
    assert rtstruct.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == (
        ct[0].FrameOfReferenceUID
    )
    assert study.ReferencedSOPInstanceUID == ct[0].StudyInstanceUID
    assert ct_series.SeriesInstanceUID == ct[0].SeriesInstanceUID
    named = {image.ReferencedSOPInstanceUID for image in ct_series.ContourImageSequence}
    assert named == {image.SOPInstanceUID for image in ct}
    assert len(ct_series.ContourImageSequence) == len(ct)


def test_what_it_says_of_itself(rtstruct: pydicom.Dataset) -> None:
    (roi,) = rtstruct.StructureSetROISequence
    (observation,) = rtstruct.RTROIObservationsSequence
    (roi_contour,) = rtstruct.ROIContourSequence
    (code,) = observation.RTROIIdentificationCodeSequence
    assert roi.ROINumber == observation.ReferencedROINumber == roi_contour.ReferencedROINumber
    assert (roi.ROIName, roi.ROIGenerationAlgorithm) == ("Liver", "AUTOMATIC")
    assert observation.RTROIInterpretedType == "ORGAN"
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == (
        "10200004",
        "SCT",
        "Liver",
    )
    assert rtstruct.ApprovalStatus == "UNAPPROVED"
    assert rtstruct.StructureSetDate == rtstruct.InstanceCreationDate == "20250304"
    assert rtstruct.StructureSetTime == rtstruct.InstanceCreationTime == "050607"
    assert list(rtstruct.SoftwareVersions) == [
        "1.2.3",
        "0123456789abcdef" * 4,
        "liver-unet compact",
    ]
    assert "0123456789abcdef" * 4 in rtstruct.StructureSetDescription
    assert "review by a physician; not a medical device" in rtstruct.StructureSetDescription


@pytest.mark.filterwarnings("error")
def test_pydicom_finds_no_invalid_value(series: CtSeries, contours: list[Contour]) -> None:
    """It checks values as they are first looked at, and warns."""
    rtstruct = _built(series, contours)
    seen = []
    rtstruct.walk(lambda _, element: seen.append(element.value))
    assert len(seen) > 100


def test_style_shows(series: CtSeries, contours: list[Contour]) -> None:
    style = RoiStyle("A liver with a long name", (1, 20, 255), "Drawn by a machine")
    rtstruct = _built(series, contours, style=style)
    assert rtstruct.StructureSetROISequence[0].ROIName == "A liver with a long name"
    assert list(rtstruct.ROIContourSequence[0].ROIDisplayColor) == [1, 20, 255]
    assert rtstruct.SeriesDescription == "Drawn by a machine"
    assert len(rtstruct.StructureSetLabel) <= 16


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 65},
        {"name": "a\\b"},
        {"series_description": "two\nlines"},
        {"colour": (0, 0, 256)},
        {"colour": (0, -1, 0)},
    ],
)
def test_style_that_dicom_cannot_hold(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RoiStyle(**settings)  # type: ignore[arg-type]


class TestIdentity:
    """The same input, model and settings give the same object; anything else another one."""

    def test_same_bytes(self, series: CtSeries, contours: list[Contour]) -> None:
        first, second = (
            to_bytes(build_rtstruct(series, contours, _PROVENANCE, RoiStyle(), _CREATED))
            for _ in range(2)
        )
        assert first == second

    def test_order_of_instances_does_not_matter(
        self, ct: list[pydicom.FileDataset], rtstruct: pydicom.Dataset, contours: list[Contour]
    ) -> None:
        shuffled = read_ct_series(ct_to_bytes(image) for image in ct[3:] + ct[:3])
        assert _built(shuffled, contours) == rtstruct

    def test_time_does_not_matter(
        self, series: CtSeries, contours: list[Contour], rtstruct: pydicom.Dataset
    ) -> None:
        later = _built(series, contours, created=datetime(2031, 1, 1))
        assert later.SOPInstanceUID == rtstruct.SOPInstanceUID
        assert later.SeriesInstanceUID == rtstruct.SeriesInstanceUID

    def test_uids_are_new_and_valid(
        self, rtstruct: pydicom.Dataset, ct: list[pydicom.FileDataset]
    ) -> None:
        uids = {rtstruct.SOPInstanceUID, rtstruct.SeriesInstanceUID}
        assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)
        assert len(uids | {image.SOPInstanceUID for image in ct} | {ct[0].SeriesInstanceUID}) == (
            len(ct) + 3
        )
        assert rtstruct.file_meta.MediaStorageSOPInstanceUID == rtstruct.SOPInstanceUID
        assert rtstruct.StudyInstanceUID == ct[0].StudyInstanceUID

    @pytest.mark.parametrize(
        ("keyword", "value"),
        [
            ("PatientID", "corrected"),
            ("IssuerOfPatientID", "another hospital"),
            ("PatientName", "Corrected^Name"),
            ("PatientBirthDate", "19510203"),
            ("PatientSex", "F"),
            ("StudyInstanceUID", "1.2.3.4"),
            ("AccessionNumber", "A-2"),
        ],
    )
    def test_whose_it_is_matters(
        self,
        keyword: str,
        value: str,
        ct: list[pydicom.FileDataset],
        contours: list[Contour],
        rtstruct: pydicom.Dataset,
    ) -> None:
        def correct(image: pydicom.Dataset) -> None:
            setattr(image, keyword, value)

        corrected = _built(_edited(ct, correct), contours)
        assert corrected.SOPInstanceUID != rtstruct.SOPInstanceUID
        assert corrected.SeriesInstanceUID != rtstruct.SeriesInstanceUID
        assert _built(_edited(ct, correct), contours).SOPInstanceUID == corrected.SOPInstanceUID

    @pytest.mark.parametrize(
        ("of_ct", "in_front"),
        [(4, 4), (0, 0), (-7, 7), (19_999, 19_999), (2_147_483_647, 3_647), (None, 0)],
    )
    def test_the_series_number_is_the_cts_with_five_digits(
        self,
        of_ct: int | None,
        in_front: int,
        ct: list[pydicom.FileDataset],
        contours: list[Contour],
    ) -> None:
        def number(image: pydicom.Dataset) -> None:
            image.SeriesNumber = of_ct

        series = _edited(ct, number)
        numbers = [
            int(_built(series, contours, style=RoiStyle(name)).SeriesNumber)
            for name in ("Liver", "LIVER")
        ]
        assert numbers[0] != numbers[1]
        assert [one // 100_000 for one in numbers] == [in_front, in_front]
        assert all(0 < one < 2**31 for one in numbers)

    def test_a_dicomdir_can_name_it(self, rtstruct: pydicom.Dataset, tmp_path: Path) -> None:
        (tmp_path / "RT").write_bytes(to_bytes(rtstruct))
        command = ["dcmmkdir", "-Pgp", "+D", str(tmp_path / "DICOMDIR"), "+id", str(tmp_path)]
        subprocess.run([*command, "RT"], check=True)
        index = pydicom.dcmread(tmp_path / "DICOMDIR")
        kinds = [record.DirectoryRecordType for record in index.DirectoryRecordSequence]
        assert kinds == ["PATIENT", "STUDY", "SERIES", "RT STRUCTURE SET"]

    def test_everything_else_matters(
        self, series: CtSeries, contours: list[Contour], rtstruct: pydicom.Dataset
    ) -> None:
        moved = replace(contours[0], points_mm=contours[0].points_mm + np.array([0, 0, 1e-4]))
        elsewhere = replace(series, sop_instance_uids=("1.2.3", *series.sop_instance_uids[1:]))
        others = [
            _built(series, [moved, *contours[1:]]),
            _built(series, contours[1:]),
            _built(series, [replace(contours[0], slice_index=3), *contours[1:]]),
            _built(elsewhere, contours),
            _built(series, contours, provenance=replace(_PROVENANCE, model_sha256="f" * 64)),
            _built(series, contours, provenance=replace(_PROVENANCE, software_version="1.2.4")),
            _built(series, contours, style=RoiStyle("LIVER")),
            _built(series, contours, style=RoiStyle(colour=(0, 0, 1))),
            _built(series, contours, style=RoiStyle(series_description="Other")),
        ]
        for role in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert len({other[role].value for other in [*others, rtstruct]}) == len(others) + 1


class TestPatientAndStudy:
    """What the CT says of patient and study, the RTSTRUCT says too, however odd."""

    def test_copied(self, ct: list[pydicom.FileDataset], contours: list[Contour]) -> None:
        def edit(image: pydicom.Dataset) -> None:
            image.PatientWeight = "71.5"
            image.PatientComments = "walks\r\nfast"
            image.ClinicalTrialSubjectID = "S-7"
            image.ClinicalTrialSeriesID = "of the CT only"
            image.ReferringPhysicianName = "Doe^Jane"
            image.ProcedureCodeSequence = [_code_item()]
            image.add_new(0x00091001, "LO", "private")

        rtstruct = _built(_edited(ct, edit), contours)
        assert rtstruct.PatientName == ct[0].PatientName
        assert rtstruct.PatientID == ct[0].PatientID
        assert rtstruct.StudyDescription == ct[0].StudyDescription
        assert rtstruct.PatientWeight == 71.5
        assert rtstruct.PatientComments == "walks\r\nfast"
        assert rtstruct.ClinicalTrialSubjectID == "S-7"
        assert rtstruct.ReferringPhysicianName == "Doe^Jane"
        assert rtstruct.ProcedureCodeSequence[0].CodeValue == "A1"
        assert "ClinicalTrialSeriesID" not in rtstruct
        assert "PatientPosition" not in rtstruct
        assert not any(element.tag.is_private for element in rtstruct)

    def test_missing_type_2_becomes_empty(
        self, ct: list[pydicom.FileDataset], contours: list[Contour]
    ) -> None:
        keywords = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"]
        keywords += ["StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"]

        def edit(image: pydicom.Dataset) -> None:
            for keyword in keywords:
                delattr(image, keyword)

        rtstruct = _built(_edited(ct, edit), contours)
        for keyword in keywords:
            assert rtstruct[keyword].is_empty

    def test_values_that_break_the_rules_stay(
        self, ct: list[pydicom.FileDataset], contours: list[Contour]
    ) -> None:
        values = {
            "PatientBirthDate": ("DA", "19/04/1960"),
            "StudyTime": ("TM", "half past nine"),
            "PatientAge": ("AS", "67"),
            "PatientSex": ("CS", "female"),
            "AccessionNumber": ("SH", "longer than sixteen characters"),
            "PatientID": ("LO", "P" * 80),
        }

        def edit(image: pydicom.Dataset) -> None:
            for keyword, (vr, value) in values.items():
                with pydicom.config.disable_value_validation():
                    image[keyword] = pydicom.DataElement(keyword, vr, value)

        with pydicom.config.disable_value_validation():
            rtstruct = _built(_edited(ct, edit), contours)
            for keyword, (_, value) in values.items():
                assert rtstruct[keyword].value == value

    @pytest.mark.parametrize(
        ("character_set", "name"),
        [
            ("ISO_IR 192", "Grünwald^Zoë"),
            ("ISO_IR 100", "Grünwald^Zoë"),
            ("ISO_IR 144", "Диавон^Жук"),
            (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("roi_name", ["Liver", "Fígado", "肝臓"])
    def test_names_keep_their_letters(
        self,
        ct: list[pydicom.FileDataset],
        contours: list[Contour],
        character_set: str | list[str],
        name: str,
        roi_name: str,
    ) -> None:
        def edit(image: pydicom.Dataset) -> None:
            image.SpecificCharacterSet = character_set
            image.PatientName = name

        rtstruct = _built(_edited(ct, edit), contours, style=RoiStyle(roi_name))
        assert rtstruct.PatientName == name
        assert rtstruct.StructureSetROISequence[0].ROIName == roi_name
        if roi_name == "Liver":
            assert rtstruct.SpecificCharacterSet == character_set

    @pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
    def test_no_uid_to_refer_to(
        self, ct: list[pydicom.FileDataset], contours: list[Contour], keyword: str
    ) -> None:
        with pytest.raises(SeriesRefused, match=keyword):
            _built(_edited(ct, lambda image: image.__delattr__(keyword)), contours)


def test_a_contour_too_long_for_explicit_vr(series: CtSeries) -> None:
    """The length of an explicit DS has 16 bits; more would be written as UN and lost to readers."""
    turn = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    index = np.column_stack([np.full(4000, 3.0), 9 + 5 * np.cos(turn), 11 + 6 * np.sin(turn)])
    points = np.round(series.volume.grid.to_mm(index), 4)
    rtstruct = _built(series, [Contour(3, points)])
    item = rtstruct.ROIContourSequence[0].ContourSequence[0]
    assert len(item.get_item("ContourData").value) > 65534
    assert rtstruct.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert np.array_equal(np.array(item.ContourData, dtype=float).reshape(-1, 3), points)


def _code_item() -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "A1", "99LOCAL", "Abdomen"
    return item
