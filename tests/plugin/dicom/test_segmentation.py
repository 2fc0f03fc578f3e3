"""SEG and SR on every kind of grid and header: valid, the same mask, one object for one result."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.roi_choice import LIVER
from orthanc_liver.dicom.segmentation import build_segmentation
from orthanc_liver.dicom.structured_report import build_report
from orthanc_liver.evaluation.outlines import read_contour
from orthanc_liver.sirt.activity import compute_activity
from orthanc_liver.sirt.inputs import read_inputs
from tests.support.ct_writer import to_bytes as ct_to_bytes
from tests.support.ct_writer import write_ct_series
from tests.support.judges import dciodvfy_errors
from tests.support.phantom import Orientation, oriented, small_abdomen
from tests.support.real_data import real_ct

PROVENANCE = Provenance("1.2.3", "liver-unet compact", "0123456789abcdef" * 4)
CREATED = datetime(2025, 3, 4, 5, 6, 7)
ROLES = ("SOP", "Series")


def blob(series: CtSeries) -> np.ndarray:
    """A lopsided block with a hole."""
    mask = np.zeros(series.volume.grid.shape, dtype=bool)
    slices, rows, columns = (n // 5 for n in mask.shape)
    mask[slices : 3 * slices, rows : 3 * rows, columns : 2 * columns] = True
    mask[slices + 1 : 2 * slices, rows + 2 : 2 * rows, columns + 2 : columns + 5] = False
    return mask


def valid(dataset: pydicom.Dataset, path: Path) -> Path:
    path.write_bytes(to_bytes(dataset))
    assert dciodvfy_errors(path) == []
    return path


def both(series: CtSeries, tmp_path: Path) -> None:
    mask = blob(series)
    seg = build_segmentation(series, mask, PROVENANCE, RoiStyle(), CREATED)
    path = valid(seg, tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_contour(path, LIVER, series).mask, mask)
    report = build_report(series, seg, 1234.5, None, PROVENANCE, RoiStyle(), CREATED)
    valid(report, tmp_path / "sr.dcm")
    number = series.header.get("SeriesNumber") or 0
    for one in (seg, report):
        assert one.SeriesNumber // 100_000 == number
        assert one.StudyInstanceUID == series.header.StudyInstanceUID
        assert one.PatientID == series.header.PatientID


@pytest.mark.parametrize("orientation", ["FFS", "reversed", "oblique", "tilted", "sagittal"])
def test_every_orientation(orientation: Orientation, tmp_path: Path) -> None:
    phantom = oriented(small_abdomen(), orientation)
    slices = write_ct_series(phantom.volume)
    both(read_ct_series([ct_to_bytes(one) for one in slices]), tmp_path)


def test_a_report_of_an_activity_holds_limits_decay_and_words(tmp_path: Path) -> None:
    slices = write_ct_series(small_abdomen().volume)
    series = read_ct_series([ct_to_bytes(one) for one in slices])
    values = {
        "LiverMl": 1800,
        "TumourMl": 150,
        "PerfusedMl": 1100,
        "PerfusedTumourMl": 100,
        "TumourToNormal": 4,
        "LungShunt": 0.05,
        "EarlierLungDoseGy": 3,
        "ActivityGbq": 2,
        "BilirubinMgDl": 0.8,
        "HoursToTreatment": 24,
    }
    activity = compute_activity("partition", read_inputs(values), (), {"Spheres": "glass"})
    seg = build_segmentation(series, blob(series), PROVENANCE, RoiStyle(), CREATED)
    told = activity.as_json()
    report = build_report(series, seg, 1234.5, told, PROVENANCE, RoiStyle(), CREATED)
    text = valid(report, tmp_path / "sr.dcm").read_bytes().decode("ascii", "replace")
    assert "Spheres: glass" in text
    assert told["Limits"]
    for one in told["Limits"]:
        assert f"Limit: {one['Sentence']}" in text


@pytest.mark.filterwarnings("ignore:The string:UserWarning:highdicom")  # a name of one part
@pytest.mark.parametrize("name", ["cort_liver", "cptac_c3l_00189"])
def test_real_headers(name: str, tmp_path: Path) -> None:
    files = sorted(real_ct("dicom", name).glob("*.dcm"))
    both(read_ct_series([path.read_bytes() for path in files]), tmp_path)


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning:pydicom")
def test_a_header_that_breaks_rules(tmp_path: Path) -> None:
    slices = write_ct_series(small_abdomen().volume)
    for one in slices:
        with pydicom.config.disable_value_validation():
            one.PatientBirthDate = "19991399"
            one.StudyTime = "noon"
            one.PatientSex = "unknown"
            one.SpacingBetweenSlices = -12.5
        del one.AccessionNumber, one.ReferringPhysicianName
    both(read_ct_series([ct_to_bytes(one) for one in slices]), tmp_path)


def test_the_same_result_is_the_same_object_and_another_is_not() -> None:
    slices = write_ct_series(small_abdomen().volume)
    files = [ct_to_bytes(one) for one in slices]
    series, again = read_ct_series(files), read_ct_series(files[::-1])
    mask = blob(series)
    style, later = RoiStyle(), datetime(2026, 1, 1)
    seg = build_segmentation(series, mask, PROVENANCE, style, CREATED)
    assert seg.SOPInstanceUID == _seg_uid(again, mask, PROVENANCE, style, later)
    one_less = mask.copy()
    one_less[tuple(np.argwhere(mask)[0])] = False
    other_model = Provenance("1.2.3", "liver-unet compact", "f" * 64)
    others = [
        _seg_uid(series, one_less, PROVENANCE, style, CREATED),
        _seg_uid(series, mask, other_model, style, CREATED),
        _seg_uid(series, mask, PROVENANCE, RoiStyle(name="Other"), CREATED),
    ]
    reports = [
        build_report(series, seg, liver_ml, None, PROVENANCE, style, created).SOPInstanceUID
        for liver_ml, created in ((1234.5, CREATED), (1234.5, later), (1234.6, CREATED))
    ]
    assert reports[0] == reports[1]
    assert len({seg.SOPInstanceUID, *others, *reports}) == 6


def test_a_corrected_patient_has_objects_of_his_own() -> None:
    slices = write_ct_series(small_abdomen().volume)
    uids = []
    for patient_id in ("wrong", "corrected"):
        for one in slices:
            one.PatientID = patient_id
        series = read_ct_series([ct_to_bytes(one) for one in slices])
        seg = build_segmentation(series, blob(series), PROVENANCE, RoiStyle(), CREATED)
        report = build_report(series, seg, 1234.5, None, PROVENANCE, RoiStyle(), CREATED)
        uids += [one[f"{role}InstanceUID"].value for one in (seg, report) for role in ROLES]
    assert len(set(uids)) == 8


def test_the_report_tracks_what_the_segmentation_tracks() -> None:
    slices = write_ct_series(small_abdomen().volume)
    series = read_ct_series([ct_to_bytes(one) for one in slices])
    seg = build_segmentation(series, blob(series), PROVENANCE, RoiStyle(), CREATED)
    report = build_report(series, seg, 1234.5, None, PROVENANCE, RoiStyle(), CREATED)
    tracked = [e.value for e in report.iterall() if e.keyword == "UID" and "2.25" in e.value]
    assert seg.SegmentSequence[0].TrackingUID in tracked
    assert seg.SeriesNumber != report.SeriesNumber


@pytest.mark.parametrize("colour", [(0, 200, 83), (255, 0, 64), (17, 17, 17)])
def test_the_segmentation_has_the_outlines_colour_and_says_who_made_it(
    colour: tuple[int, ...],
) -> None:
    slices = write_ct_series(small_abdomen().volume)
    series = read_ct_series([ct_to_bytes(one) for one in slices])
    seg = build_segmentation(series, blob(series), PROVENANCE, RoiStyle(colour=colour), CREATED)
    stored = seg.SegmentSequence[0].RecommendedDisplayCIELabValue
    shown = highdicom.color.CIELabColor.from_dicom_value(stored).to_rgb()
    assert shown == pytest.approx(colour, abs=1)
    assert seg.ContentCreatorName == "orthanc-liver"


def _seg_uid(
    series: CtSeries, mask: np.ndarray, provenance: Provenance, style: RoiStyle, created: datetime
) -> str:
    return str(build_segmentation(series, mask, provenance, style, created).SOPInstanceUID)


@pytest.mark.parametrize(
    ("character_set", "name", "patient_id"),
    [
        ("ISO_IR 100", "Müller^Zoë", "MÜ-1"),
        ("ISO_IR 144", "Жданов^Юлия", "Ж-1"),
        ("ISO_IR 192", "山田^太郎", "山-1"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "Y-1"),
    ],
)
def test_names_in_any_letters(
    character_set: str | list[str], name: str, patient_id: str, tmp_path: Path
) -> None:
    slices = write_ct_series(small_abdomen().volume)
    for one in slices:
        one.SpecificCharacterSet = character_set
        one.PatientName, one.PatientID = name, patient_id
    series = read_ct_series([ct_to_bytes(one) for one in slices])
    seg = build_segmentation(series, blob(series), PROVENANCE, RoiStyle(), CREATED)
    report = build_report(series, seg, 1234.5, None, PROVENANCE, RoiStyle(), CREATED)
    for number, written in enumerate((seg, report)):
        read = pydicom.dcmread(valid(written, tmp_path / f"{number}.dcm"))
        assert (str(read.PatientName), read.PatientID) == (name, patient_id)
