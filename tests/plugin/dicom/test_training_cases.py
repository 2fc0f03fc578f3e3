"""DICOM CT with an RTSTRUCT becomes a case folder, or is refused by a sentence naming the file."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from liver_unet import training
from liver_unet.model_errors import TrainingRefused
from liver_unet.training import TrainingConfig, load_config
from liver_unet.training.cases import read_case
from liver_unet.training.layouts import find_cases
from liver_unet.volume import Grid
from orthanc_liver.dicom.roi_choice import RoiChoice
from orthanc_liver.dicom.training_cases import prepared, train
from tests.support.ct_writer import write_ct_series, write_files
from tests.support.phantom import Orientation, Phantom, oriented, small_abdomen

Change = Callable[[pydicom.Dataset], None]


def write_ct(folder: Path, phantom: Phantom, uid_seed: str = "one") -> FileDataset:
    """Write the CT; return its first slice."""
    slices = write_ct_series(phantom.volume, uid_seed=uid_seed)
    write_files(folder, slices)
    return slices[0]


def write_structures(path: Path, first: FileDataset, contours: list[np.ndarray]) -> None:
    """Write an RTSTRUCT with a body and a liver, as another system might: no more than needed."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "RTSTRUCT"
    series, study, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    frame.FrameOfReferenceUID = first.FrameOfReferenceUID
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence = [roi(7, "BODY"), roi(3, "LIVER_manual")]
    outline = pydicom.Dataset()
    outline.ReferencedROINumber = 3
    outline.ContourSequence = [contour(points) for points in contours]
    other = pydicom.Dataset()
    other.ReferencedROINumber = 7
    dataset.ROIContourSequence = [other, outline]
    dataset.save_as(path, enforce_file_format=True)


def roi(number: int, name: str) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.ROINumber = number
    dataset.ROIName = name
    return dataset


def contour(points_mm: np.ndarray) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.ContourGeometricType = "CLOSED_PLANAR"
    dataset.NumberOfContourPoints = len(points_mm)
    dataset.ContourData = [round(float(v), 3) for v in points_mm.ravel()]
    return dataset


def box(grid: Grid, z: int, rows: tuple[float, float], columns: tuple[float, float]) -> np.ndarray:
    corners = [(z, r, c) for r, c in ((0, 0), (0, 1), (1, 1), (1, 0))]
    index = [(z, rows[r], columns[c]) for z, r, c in corners]
    return grid.to_mm(np.array(index, dtype=float))


def boxes(grid: Grid, slices: range) -> list[np.ndarray]:
    """Rows 10-29 and columns 20-59 of each slice, with a hole of rows 15-19, columns 30-44."""
    outer = [box(grid, z, (9.5, 29.5), (19.5, 59.5)) for z in slices]
    return outer + [box(grid, z, (14.5, 19.5), (29.5, 44.5)) for z in slices]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """One CT of 24 slices and its RTSTRUCT at study/rs.dcm."""
    phantom = small_abdomen()
    first = write_ct(tmp_path / "study" / "ct", phantom)
    contours = boxes(phantom.volume.grid, range(4, 18))
    write_structures(tmp_path / "study" / "rs.dcm", first, contours)
    return tmp_path / "study"


def edit(study: Path, change: Change) -> None:
    dataset = pydicom.dcmread(study / "rs.dcm")
    change(dataset)
    dataset.save_as(study / "rs.dcm")


def refusal(study: Path) -> str:
    with pytest.raises(TrainingRefused) as refused:
        prepared(study, study.parent / "cases")
    assert not list(study.parent.glob("cases/*"))
    return str(refused.value)


@pytest.mark.parametrize("orientation", ["HFS", "FFP", "oblique", "tilted", "sagittal"])
def test_an_outline_becomes_its_pixels(tmp_path: Path, orientation: Orientation) -> None:
    phantom = oriented(small_abdomen(), orientation)
    grid = phantom.volume.grid
    first = write_ct(tmp_path / "study", phantom)
    write_structures(tmp_path / "study" / "rs.dcm", first, boxes(grid, range(4, 18)))
    (files,) = find_cases(prepared(tmp_path / "study", tmp_path / "cases"))
    case = read_case(files)
    expected = np.zeros(grid.shape, dtype=bool)
    expected[4:18, 10:30, 20:60] = True
    expected[4:18, 15:20, 30:45] = False
    here = at_the_same_places(expected, grid, case.ct.grid)
    assert (case.liver == here).all()
    assert (case.ct.hu == at_the_same_places(phantom.volume.hu, grid, case.ct.grid)).all()


def at_the_same_places(array: np.ndarray, grid: Grid, other: Grid) -> np.ndarray:
    """Reorder an array whose voxels lie where the other grid's lie, in another order."""
    index = np.stack(np.meshgrid(*map(np.arange, other.shape), indexing="ij"), axis=-1)
    there = grid.to_index(other.to_mm(index.astype(float)))
    rounded = np.rint(there).astype(int)
    np.testing.assert_allclose(there, rounded, atol=0.02)
    return np.asarray(array[tuple(np.moveaxis(rounded, -1, 0))])


def test_conversion_is_remembered(study: Path) -> None:
    cache = prepared(study, study.parent / "cases")
    (written,) = cache.glob("*/ct.nii.gz")
    before = written.stat().st_mtime_ns
    prepared(study, cache)
    assert written.stat().st_mtime_ns == before

    edit(study, lambda d: setattr(d, "SOPInstanceUID", generate_uid()))
    prepared(study, cache)
    (renewed,) = cache.glob("*/ct.nii.gz")
    assert renewed != written


def test_a_folder_without_dicom_is_left_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "volume-1.nii").write_bytes(b"x" * 200)
    assert prepared(tmp_path, tmp_path / "cases") == tmp_path
    with pytest.raises(TrainingRefused, match=r"segmentation-1.nii is missing"):
        train(load_config("fine"), [tmp_path], tmp_path / "out")


def rename(study: Path, *names: str) -> None:
    """Name the ROIs of the set; the first gets the second's contours on slices 6 to 17, less the
    holes."""

    def change(dataset: pydicom.Dataset) -> None:
        for item, name in zip(dataset.StructureSetROISequence, names, strict=True):
            item.ROIName = name
        body, liver = dataset.ROIContourSequence
        body.ContourSequence = copy.deepcopy(liver.ContourSequence[2:14])

    edit(study, change)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("BODY", "Leber"), "outlines nothing named /^liver$/ or /liver/; there are: 'BODY', 'Leb"),
        (("Liver 1", "liver - GTV"), "several named /^liver$/ or /liver/: 'Liver 1', 'liver - GTV"),
    ],
)
def test_the_liver_must_be_named_once(study: Path, names: tuple[str, str], said: str) -> None:
    rename(study, *names)
    assert f"{study / 'rs.dcm'} outlines" in refusal(study)
    assert said in refusal(study)


@pytest.mark.parametrize(
    ("names", "words", "slices", "chosen"),
    [
        (("Liver_GTV", "Liver"), (), range(4, 18), "Liver"),
        (("BODY", "Leber"), ("Liver", "Leber"), range(4, 18), "Leber"),
        (("z_Liver-PTV", "Liver 2"), ("/ptv$/",), range(6, 18), "z_Liver-PTV"),
    ],
)
def test_which_roi_is_the_liver_is_chosen_and_told(
    study: Path,
    names: tuple[str, str],
    words: tuple[str, ...],
    slices: range,
    chosen: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rename(study, *names)
    (files,) = find_cases(prepared(study, study.parent / "cases", RoiChoice.of(words)))
    outlined = np.flatnonzero(read_case(files).liver.any(axis=(1, 2)))
    assert outlined.tolist() == list(slices)
    assert f"{study / 'rs.dcm'}: the liver is ROI {chosen!r}" in capsys.readouterr().err


def test_another_choice_is_another_conversion(study: Path) -> None:
    rename(study, "Leber", "Liver")
    counts = []
    for words in ([], ["Leber"], []):
        (files,) = find_cases(prepared(study, study.parent / "cases", RoiChoice.of(words)))
        counts.append(read_case(files).liver.sum())
    assert counts[1] < counts[0] == counts[2]


def test_an_emptied_roi_is_none(study: Path) -> None:
    def empty(dataset: pydicom.Dataset) -> None:
        dataset.StructureSetROISequence[0].ROIName = "LIVER"

    edit(study, empty)  # the other is LIVER_manual, and has the contours
    assert prepared(study, study.parent / "cases")


def test_a_choice_without_rtstructs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "volume-1.nii").write_bytes(b"x" * 200)
    with pytest.raises(TrainingRefused, match="no RTSTRUCT, so there is no ROI to choose"):
        prepared(tmp_path, tmp_path / "cases", RoiChoice.of(["Leber"]))


@pytest.mark.parametrize(
    ("contours", "said"),
    [
        (lambda grid: [box(grid, 9, (9.5, 10.5), (19.5, 20.5))], "0.24 mL"),
        (lambda grid: [box(grid, z, (-1, 70), (-1, 92)) for z in range(24)], "100 % of the image"),
    ],
)
def test_what_is_no_liver_is_refused_by_case(
    study: Path, contours: Callable[[Grid], list[np.ndarray]], said: str
) -> None:
    drawn = [contour(points) for points in contours(small_abdomen().volume.grid)]
    edit(study, lambda d: setattr(d.ROIContourSequence[1], "ContourSequence", drawn))
    assert refusal(study) == f"{study / 'rs.dcm'} outlines {said}, which is no liver"


def test_every_bad_case_is_named(study: Path) -> None:
    """A sound one among them is converted all the same, and not anew when the others are mended."""
    phantom = small_abdomen()
    for name, slices in (("sound", range(4, 18)), ("more", range(4, 18))):
        first = write_ct(study / name, phantom, uid_seed=name)
        write_structures(study / f"{name}.dcm", first, boxes(phantom.volume.grid, slices))
    for path in (study / "more.dcm", study / "rs.dcm"):
        dataset = pydicom.dcmread(path)
        del dataset.ROIContourSequence[1].ContourSequence[4]
        del dataset.ROIContourSequence[1].ContourSequence[17]
        dataset.save_as(path)
    with pytest.raises(TrainingRefused) as refused:
        prepared(study, study.parent / "cases")
    for name in ("more.dcm", "rs.dcm"):
        assert f"{study / name} leaves out slice" in str(refused.value)
    assert str(refused.value).endswith("(2 cases are refused)")
    [made] = study.parent.glob("cases/*")
    assert (made / "liver.nii.gz").exists()
    for name in ("more", "rs"):
        edit_roi_name(study / f"{name}.dcm", "nothing of the kind")
    with pytest.raises(TrainingRefused) as refused:
        prepared(study, study.parent / "cases")
    assert str(refused.value).count("outlines nothing named") == 2


def edit_roi_name(path: Path, name: str) -> None:
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[1].ROIName = name
    dataset.save_as(path)


def test_a_contour_beyond_the_ct_is_left_out_with_a_warning(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = small_abdomen().volume.grid
    beyond = contour(box(grid, 24, (9.5, 29.5), (19.5, 59.5)))
    edit(study, lambda d: d.ROIContourSequence[1].ContourSequence.append(beyond))
    (files,) = find_cases(prepared(study, study.parent / "cases"))
    assert np.flatnonzero(read_case(files).liver.any(axis=(1, 2))).tolist() == list(range(4, 18))
    assert "1 contours beyond the CT's first or last slice" in capsys.readouterr().err


def test_ct_and_structure_set_in_one_folder_are_read_as_both(study: Path) -> None:
    (study / "rs.dcm").rename(study / "ct" / "rs")
    assert find_cases(prepared(study / "ct", study.parent / "cases"))


def test_a_contour_between_slices_is_refused(study: Path) -> None:
    def shift(dataset: pydicom.Dataset) -> None:
        data = dataset.ROIContourSequence[1].ContourSequence[3].ContourData
        data[2::3] = [float(z) + 4 for z in data[2::3]]

    edit(study, shift)
    assert refusal(study).startswith(
        f"{study / 'rs.dcm'}: the ROI does not lie on the slices of this CT: it has a contour that "
        "is 4.00 mm off"
    )


def test_a_slice_left_out_is_refused(study: Path) -> None:
    def leave_out(dataset: pydicom.Dataset) -> None:
        contours = dataset.ROIContourSequence[1].ContourSequence
        del contours[14 + 6], contours[6]

    edit(study, leave_out)
    assert f"{study / 'rs.dcm'} leaves out slice 11" in refusal(study)


def test_an_outline_without_contours_is_refused(study: Path) -> None:
    edit(study, lambda d: setattr(d.ROIContourSequence[1], "ContourSequence", []))
    assert "names /^liver$/ or /liver/ but has no contour for it" in refusal(study)


def test_a_point_is_no_outline(study: Path) -> None:
    def point(dataset: pydicom.Dataset) -> None:
        dataset.ROIContourSequence[1].ContourSequence[0].ContourGeometricType = "POINT"

    edit(study, point)
    assert (
        f"{study / 'rs.dcm'} has a contour of 'LIVER_manual' that is no polygon (POINT)"
        in refusal(study)
    )


def test_ct_without_outlines_is_refused(study: Path) -> None:
    (study / "rs.dcm").unlink()
    assert str(study / "ct") in refusal(study)
    assert "has no RTSTRUCT" in refusal(study)


def test_outlines_without_ct_are_refused(study: Path) -> None:
    for path in (study / "ct").iterdir():
        path.unlink()
    assert str(study / "rs.dcm") in refusal(study)
    assert "which is missing" in refusal(study)


def test_two_structure_sets_of_one_ct_are_refused(study: Path) -> None:
    (study / "rs2.dcm").write_bytes((study / "rs.dcm").read_bytes())
    assert refusal(study).count("without approval status)") == 2
    assert "outline the same CT" in refusal(study)


def test_a_structure_set_without_a_referenced_study_is_paired_by_its_frame(study: Path) -> None:
    def leave_out(dataset: pydicom.Dataset) -> None:
        del dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence

    edit(study, leave_out)
    assert find_cases(prepared(study, study.parent / "cases"))
    write_ct(study / "other phase", small_abdomen(), "two")
    for path in (study / "other phase").iterdir():
        one = pydicom.dcmread(path)
        one.FrameOfReferenceUID = pydicom.dcmread(study / "ct" / "000.dcm").FrameOfReferenceUID
        one.save_as(path)
    shutil.rmtree(study.parent / "cases")
    assert "in its frame of reference lie 2 CT series: it must be one" in refusal(study)


def test_a_structure_set_that_refers_to_nothing_is_refused(study: Path) -> None:
    edit(study, lambda d: delattr(d, "ReferencedFrameOfReferenceSequence"))
    assert "in its frame of reference lie 0 CT series" in refusal(study)


def test_a_structure_set_of_another_frame_is_refused(study: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = generate_uid()

    edit(study, change)
    assert "another frame of reference" in refusal(study)


def test_a_ct_with_a_missing_slice_is_refused(study: Path) -> None:
    (study / "ct" / "009.dcm").unlink()
    assert refusal(study).startswith(f"{study / 'ct'}: A slice is missing")


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_structure_set_is_refused(study: Path, share: float) -> None:
    content = (study / "rs.dcm").read_bytes()
    (study / "rs.dcm").write_bytes(content[: int(share * len(content))])
    assert str(study / "rs.dcm") in refusal(study)


def test_dicom_beside_nifti_is_refused(study: Path) -> None:
    (study / "volume-1.nii").touch()
    assert "holds DICOM and NIfTI" in refusal(study)


def write_case(folder: Path, patient: str) -> str:
    """A CT of this PatientID with its outline; returns the case's name."""
    phantom = small_abdomen()
    first = write_ct(folder / "ct", phantom, folder.name)
    for path in (folder / "ct").iterdir():
        one = pydicom.dcmread(path)
        one.PatientID = patient
        one.save_as(path)
    write_structures(folder / "rs.dcm", first, boxes(phantom.volume.grid, range(4, 18)))
    return str(pydicom.dcmread(folder / "rs.dcm").SOPInstanceUID)


def test_the_ct_of_one_patient_are_dealt_out_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever they lie; but where all bear one PatientID, it is nobody's."""
    given: list[TrainingConfig] = []
    monkeypatch.setattr(training, "train", lambda recipe, *_: given.append(recipe))
    data = [tmp_path / "arterial", tmp_path / "portal"]
    early = write_case(data[0] / "a", "P1")
    write_case(data[0] / "b", "P2")
    late = write_case(data[1] / "c", "P1")
    write_case(data[1] / "d", "")
    write_case(data[1] / "e", "")
    recipe = load_config("fine")
    train(recipe, data, tmp_path / "out", "cpu")
    assert given[0].same_patient == (*recipe.same_patient, tuple(sorted((early, late))))
    assert "P1" not in capsys.readouterr().err
    train(recipe, [write_all_as_one(tmp_path / "one")], tmp_path / "other", "cpu")
    assert given[1] == recipe
    assert "warning: all 2 CT bear one PatientID" in capsys.readouterr().err


def write_all_as_one(data: Path) -> Path:
    for name in ("f", "g"):
        write_case(data / name, "ANONYMOUS")
    return data
