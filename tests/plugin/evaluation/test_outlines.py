"""A liver comes back as the same mask from RTSTRUCT, SEG and NIfTI, or is refused."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels.utils import pack_bits
from pydicom.uid import generate_uid

from liver_unet.nifti import write_nifti
from liver_unet.volume import Grid
from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.roi_choice import LIVER, EmptyOutline, OutlineRefused, RoiChoice
from orthanc_liver.evaluation.outlines import read_contour
from tests.support.case_writer import write_ct_folder, write_rtstruct, write_seg
from tests.support.phantom import Orientation, Phantom, oriented, small_abdomen

Slices = list[pydicom.FileDataset]


def on_grid_of(grid: Grid, phantom: Phantom) -> np.ndarray:
    """The phantom's liver where the same voxels lie in the order of another grid."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    there = phantom.volume.grid.to_index(grid.to_mm(index.astype(float)))
    return np.asarray(phantom.liver[tuple(np.moveaxis(np.rint(there).astype(int), -1, 0))])


@pytest.fixture(params=["HFS", "FFP", "oblique", "tilted"], scope="module")
def phantom(request: pytest.FixtureRequest) -> Phantom:
    orientation: Orientation = request.param
    return oriented(small_abdomen(), orientation)


def test_rtstruct_and_seg_by_name(phantom: Phantom, tmp_path: Path) -> None:
    slices = write_ct_folder(tmp_path / "ct", phantom, "named")
    ct = read_ct(tmp_path / "ct")
    expected = on_grid_of(ct.volume.grid, phantom)
    write_rtstruct(tmp_path / "rs.dcm", slices, phantom.liver, "Liver manual")
    found = read_contour(tmp_path / "rs.dcm", LIVER, ct)
    np.testing.assert_array_equal(found.mask, expected)
    assert (found.chosen, found.warnings) == ("ROI 'Liver manual'", ())
    other = np.roll(phantom.liver, 3, axis=1)
    write_seg(tmp_path / "seg.dcm", slices, {"GTV": other, "Liver": phantom.liver})
    segment = read_contour(tmp_path / "seg.dcm", RoiChoice.of(["/^LIVER$/"]), ct)
    np.testing.assert_array_equal(segment.mask, expected)
    assert segment.chosen == "segment 'Liver'"
    for name in ("rs.dcm", "seg.dcm"):
        with pytest.raises(OutlineRefused, match="outlines nothing named 'liver'"):
            read_contour(tmp_path / name, RoiChoice.of(["liver"]), ct)
    with pytest.raises(OutlineRefused, match=r"several named /i\|v/"):
        read_contour(tmp_path / "seg.dcm", RoiChoice.of(["/i|v/"]), ct)


def test_nifti_along_other_axes_and_of_smaller_extent(phantom: Phantom, tmp_path: Path) -> None:
    write_ct_folder(tmp_path / "ct", phantom, "axes")
    ct = read_ct(tmp_path / "ct")
    expected = on_grid_of(ct.volume.grid, phantom)
    write_nifti(tmp_path / "mask.nii.gz", phantom.liver.astype(np.uint8), phantom.volume.grid)
    image = nibabel.load(tmp_path / "mask.nii.gz")
    assert isinstance(image, nibabel.nifti1.Nifti1Image)
    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    # As 3D Slicer saves: the voxels around the segment, and no others.
    around = tuple(slice(int(a.min()), int(a.max()) + 2) for a in phantom.liver.nonzero())
    cropped = image.slicer[around[::-1]]
    nibabel.save(cropped, tmp_path / "cropped.nii.gz")
    assert np.prod(cropped.shape) < phantom.liver.size / 2
    for name in ("mask.nii.gz", "turned.nii.gz", "cropped.nii.gz"):
        found = read_contour(tmp_path / name, LIVER, ct)
        np.testing.assert_array_equal(found.mask, expected)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CtSeries, Phantom, Slices]:
    folder, phantom = tmp_path_factory.mktemp("study"), small_abdomen()
    slices = write_ct_folder(folder / "ct", phantom, "study")
    ct = read_ct(folder / "ct")
    write_rtstruct(folder / "rs.dcm", slices, phantom.liver, "Liver")
    write_seg(folder / "seg.dcm", slices, {"Liver": phantom.liver})
    write_nifti(folder / "mask.nii.gz", phantom.liver.astype(np.uint8), ct.volume.grid)
    return folder, ct, phantom, slices


@pytest.fixture
def study(
    original: tuple[Path, CtSeries, Phantom, Slices], tmp_path: Path
) -> tuple[CtSeries, Phantom, Slices]:
    """One CT in ct/ with its liver as rs.dcm, seg.dcm and mask.nii.gz beside it."""
    folder, ct, phantom, slices = original
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return ct, phantom, slices


def refusal(path: Path, ct: CtSeries, choice: RoiChoice = LIVER) -> str:
    with pytest.raises(OutlineRefused) as refused:
        read_contour(path, choice, ct)
    said = str(refused.value)
    assert path.name in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", ["rs.dcm", "seg.dcm"])
def test_another_patient_and_another_series_are_told(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path, name: str
) -> None:
    """In one frame of reference: phases have one, and some systems give all patients the same."""
    ct, _, _ = study
    assert read_contour(tmp_path / name, LIVER, ct).warnings == ()
    other = copy.deepcopy(ct)
    other.header.PatientID, other.header.SeriesInstanceUID = "OTHER", generate_uid()
    series, patient = read_contour(tmp_path / name, LIVER, other).warnings
    assert "drawn on another series than this CT" in series
    assert patient.startswith("the outline bears another PatientID than this CT")
    assert "OTHER" not in patient


def moved_sideways(contour: pydicom.Dataset, mm: float) -> None:
    contour.ContourData[::3] = [float(x) + mm for x in contour.ContourData[::3]]


def test_contours_that_leave_the_images_at_a_side(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    """The mask ended there, 1616 of 1727 mL."""
    ct, _, _ = study
    dataset = pydicom.dcmread(tmp_path / "rs.dcm")
    contours = dataset.ROIContourSequence[0].ContourSequence
    moved_sideways(contours[4], 300)
    dataset.save_as(tmp_path / "one.dcm")
    assert read_contour(tmp_path / "one.dcm", LIVER, ct).warnings[0] == (
        f"1 of {len(contours)} contours leave the CT's images at a side"
    )


def test_contours_that_are_cut_off_or_moved(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, _, _ = study
    dataset = pydicom.dcmread(tmp_path / "rs.dcm")
    contour = dataset.ROIContourSequence[0].ContourSequence[4]
    contour.NumberOfContourPoints = len(contour.ContourData)
    dataset.save_as(tmp_path / "cut.dcm")
    (warning,) = read_contour(tmp_path / "cut.dcm", LIVER, ct).warnings
    assert warning.startswith("1 contours hold another number of points than they say")
    contour.ContourOffsetVector = [0, 0, 0]
    dataset.save_as(tmp_path / "at rest.dcm")
    assert read_contour(tmp_path / "at rest.dcm", LIVER, ct).warnings == (warning,)
    contour.ContourOffsetVector = [0, 0, 12.5]
    dataset.save_as(tmp_path / "moved.dcm")
    assert "with an offset" in refusal(tmp_path / "moved.dcm", ct)


def test_what_does_not_fit_is_refused(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, phantom, _ = study
    shifted = copy.deepcopy(ct)
    shifted.volume.grid.affine[2, 3] += ct.volume.grid.spacing_mm[0] / 2
    for name in ("seg.dcm", "rs.dcm", "mask.nii.gz"):
        refusal(tmp_path / name, shifted)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "seg.dcm").read_bytes()[:3000])
    (tmp_path / "text.nii").write_text("no image")
    write_nifti(tmp_path / "empty.nii.gz", np.zeros(ct.volume.grid.shape, np.uint8), ct.volume.grid)
    for name in ("cut.dcm", "text.nii", "empty.nii.gz", "missing.nii", "ct/000.dcm", "ct"):
        refusal(tmp_path / name, ct)
    finer = Grid(phantom.liver.shape, ct.volume.grid.affine @ np.diag([1.0, 0.5, 0.5, 1.0]))
    write_nifti(tmp_path / "finer.nii.gz", phantom.liver.astype(np.uint8), finer)
    assert "does not lie on the CT's voxels" in refusal(tmp_path / "finer.nii.gz", ct)


def test_another_frame_of_reference_is_refused_but_for_a_ct_that_has_none(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, phantom, _ = study
    write_nifti(tmp_path / "ct.nii.gz", phantom.volume.hu.astype(np.int16), ct.volume.grid)
    from_nifti = read_ct(tmp_path / "ct.nii.gz")
    for name in ("rs.dcm", "seg.dcm"):
        dataset = pydicom.dcmread(tmp_path / name)
        dataset.FrameOfReferenceUID = generate_uid()
        for roi in dataset.get("StructureSetROISequence", []):
            roi.ReferencedFrameOfReferenceUID = generate_uid()
        dataset.save_as(tmp_path / name)
        assert "another frame of reference" in refusal(tmp_path / name, ct)
        np.testing.assert_array_equal(
            read_contour(tmp_path / name, LIVER, from_nifti).mask, phantom.liver
        )
        del dataset.FrameOfReferenceUID
        for roi in dataset.get("StructureSetROISequence", []):
            del roi.ReferencedFrameOfReferenceUID
        dataset.pop("ReferencedFrameOfReferenceSequence", None)
        dataset.save_as(tmp_path / name)
        assert "does not say in which frame" in refusal(tmp_path / name, ct)


def test_a_folder_that_holds_ct_and_outline_is_read_as_both(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    _, phantom, _ = study
    (tmp_path / "seg.dcm").unlink()
    (tmp_path / "rs.dcm").rename(tmp_path / "ct" / "rs.dcm")
    ct = read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(read_contour(tmp_path / "ct", LIVER, ct).mask, phantom.liver)
    again = pydicom.dcmread(tmp_path / "ct" / "rs.dcm")
    again.StructureSetLabel, again.StructureSetDate = "by hand", "20260102"
    again.ApprovalStatus = "APPROVED"
    again.save_as(tmp_path / "ct" / "other.dcm")
    assert "('by hand', 20260102, approved)" in refusal(tmp_path / "ct", ct)


@pytest.mark.parametrize(
    ("names", "words", "chosen"),
    [
        (["Liver", "Liver_GTV"], [], "Liver"),
        (["z_Liver-PTV", "LIVER"], [], "LIVER"),
        (["Liver_old", "liver manual"], [], "liver manual"),  # the first is emptied below
        (["Spleen", "Leber"], ["Liver", "Leber"], "Leber"),
        (["Leber", "Liver_GTV"], ["/^leb/"], "Leber"),
        (["Liver", "liver"], ["liver"], "liver"),
        (["Liver_1", "Liver_2"], [], None),
        (["Spleen", "Leber"], [], None),
        (["LIVER"], ["Liver"], None),
    ],
)
def test_which_roi_is_the_liver(
    names: list[str],
    words: list[str],
    chosen: str | None,
    study: tuple[CtSeries, Phantom, Slices],
    tmp_path: Path,
) -> None:
    ct, _, _ = study
    dataset = pydicom.dcmread(tmp_path / "rs.dcm")
    [roi], [outlined] = dataset.StructureSetROISequence, dataset.ROIContourSequence
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, name in enumerate(names, start=1):
        own_roi, own_outline = copy.deepcopy(roi), copy.deepcopy(outlined)
        own_roi.ROINumber = own_outline.ReferencedROINumber = number
        own_roi.ROIName = name
        if name == "Liver_old":
            own_outline.ContourSequence = []
        dataset.StructureSetROISequence.append(own_roi)
        dataset.ROIContourSequence.append(own_outline)
    dataset.save_as(tmp_path / "rs.dcm")
    if chosen:
        found = read_contour(tmp_path / "rs.dcm", RoiChoice.of(words), ct)
        assert found.chosen == f"ROI {chosen!r}"
    else:
        assert repr(names[0]) in refusal(tmp_path / "rs.dcm", ct, RoiChoice.of(words))


def test_an_emptied_roi_is_a_liver_that_was_missed(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, phantom, slices = study
    dataset = pydicom.dcmread(tmp_path / "rs.dcm")
    dataset.ROIContourSequence[0].ContourSequence = []
    dataset.save_as(tmp_path / "rs.dcm")
    write_seg(tmp_path / "seg.dcm", slices, {"Spleen": phantom.liver, "Liver": phantom.liver & 0})
    for name in ("rs.dcm", "seg.dcm"):
        with pytest.raises(EmptyOutline):
            read_contour(tmp_path / name, LIVER, ct)


def test_contours_beyond_the_ct_on_some_slices_or_crossing_themselves(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, phantom, _ = study
    path, whole = tmp_path / "rs.dcm", pydicom.dcmread(tmp_path / "rs.dcm")

    def rewrite(change: Callable[[Any], None]) -> None:
        dataset = copy.deepcopy(whole)
        change(dataset.ROIContourSequence[0].ContourSequence)
        dataset.save_as(path)

    def append(contours: Any, beyond: int) -> None:
        for n in range(1, beyond + 1):
            further = copy.deepcopy(contours[0])
            further.ContourData[2::3] = [1e3 + 12.5 * n] * (len(further.ContourData) // 3)
            contours.append(further)

    def cross(contour: Any) -> None:
        """Walk a half of the path backwards."""
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        half = len(points) // 2
        contour.ContourData = [*points[:half].ravel(), *points[half:][::-1].ravel()]

    rewrite(lambda contours: append(contours, 1))
    found = read_contour(path, LIVER, ct)
    np.testing.assert_array_equal(found.mask, phantom.liver)
    assert found.warnings == ("1 contours beyond the CT's first or last slice were left out",)
    rewrite(lambda contours: contours.extend(copy.deepcopy(contours[:4])))  # repeats
    np.testing.assert_array_equal(read_contour(path, LIVER, ct).mask, phantom.liver)
    rewrite(lambda contours: cross(contours[2]))
    assert "1 contours cross themselves" in read_contour(path, LIVER, ct).warnings[0]
    rewrite(lambda contours: append(contours, 9))
    assert "9 of " in refusal(path, ct)
    outlined = np.flatnonzero(phantom.liver.any(axis=(1, 2)))
    rewrite(lambda contours: contours.__delitem__(slice(1, None, 2)))
    assert f"no contour on slice {outlined[1] + 1}" in refusal(path, ct)


def test_an_image_of_labels_needs_a_label(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    """As LiTS has them: liver 1, tumour 2; and a tool that numbers the liver 5."""
    ct, phantom, _ = study
    grid, path = ct.volume.grid, tmp_path / "labels.nii.gz"
    labels = phantom.liver * (1 + phantom.tumours)
    assert phantom.tumours.any()
    write_nifti(path, labels.astype(np.uint8), grid)
    assert "labels 1, 2: say which, such as 1 or 1+2" in refusal(path, ct)
    for word, expected in (("1+2", phantom.liver), ("1", phantom.liver & ~phantom.tumours)):
        found = read_contour(path, RoiChoice.of([word]), ct)
        np.testing.assert_array_equal(found.mask, expected)
        assert found.chosen == f"label {word}"
    with pytest.raises(EmptyOutline, match="but 1, 2"):
        read_contour(path, RoiChoice.of(["5"]), ct)
    write_nifti(path, (5 * phantom.liver).astype(np.uint8), grid)
    np.testing.assert_array_equal(read_contour(path, LIVER, ct).mask, phantom.liver)


@pytest.mark.parametrize("odd", [np.nan, np.inf, 0.3, -np.inf])
def test_a_nifti_image_that_is_no_mask(
    odd: float, study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, phantom, _ = study
    image = nibabel.load(tmp_path / "mask.nii.gz")
    assert isinstance(image, nibabel.nifti1.Nifti1Image)
    array = 3 * phantom.liver.transpose(2, 1, 0).astype(np.float32)
    array[40, 30, 8] = odd
    nibabel.save(nibabel.Nifti1Image(array, image.affine), tmp_path / "odd.nii.gz")
    refusal(tmp_path / "odd.nii.gz", ct)


@pytest.mark.parametrize("kind", ["seg.dcm", "mask.nii.gz"])
def test_a_mask_on_some_slices_only(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path, kind: str
) -> None:
    """As of contours: every second slice is half a liver; parts of three and more may be meant."""
    ct, phantom, slices = study
    outlined = np.flatnonzero(phantom.liver.any(axis=(1, 2))).tolist()

    def without(gone: list[int]) -> Path:
        mask = phantom.liver.copy()
        mask[gone] = False
        if kind == "seg.dcm":
            write_seg(tmp_path / kind, slices, {"Liver": mask}, "BINARY")
        else:
            write_nifti(tmp_path / kind, mask.astype(np.uint8), ct.volume.grid)
        return tmp_path / kind

    said = refusal(without(outlined[1:-1:2]), ct)
    assert f"no contour on slice {outlined[1] + 1}, {outlined[3] + 1}" in said
    [warning] = read_contour(without(outlined[4:5]), LIVER, ct).warnings
    assert f"no contour on slice {outlined[4] + 1} (counted from 1)" in warning


def test_a_label_map_seg(study: tuple[CtSeries, Phantom, Slices], tmp_path: Path) -> None:
    ct, phantom, slices = study
    healthy = phantom.liver & ~phantom.tumours
    write_seg(tmp_path / "map.dcm", slices, {"GTV": phantom.tumours, "Liver": healthy}, "LABELMAP")
    found = read_contour(tmp_path / "map.dcm", LIVER, ct)
    np.testing.assert_array_equal(found.mask, healthy)
    assert found.chosen == "segment 'Liver'"


def test_a_fractional_seg_counts_from_one_half_on(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    ct, phantom, slices = study
    share = np.where(phantom.liver, 0.75, 0.25)
    write_seg(tmp_path / "share.dcm", slices, {"Liver": share}, "FRACTIONAL")
    np.testing.assert_array_equal(
        read_contour(tmp_path / "share.dcm", LIVER, ct).mask, phantom.liver
    )


def test_frames_lie_where_their_own_position_says(
    study: tuple[CtSeries, Phantom, Slices], tmp_path: Path
) -> None:
    """All name one source image, and they come in another order, cut to the rows that matter."""
    ct, phantom, _ = study
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    source = frames[0].DerivationImageSequence
    for frame in frames:
        frame.DerivationImageSequence = source
    dataset.PerFrameFunctionalGroupsSequence = frames[::-1]
    pixels = dataset.pixel_array[::-1]
    first, last = (int(n) for n in np.flatnonzero(phantom.liver.any(axis=(0, 2)))[[0, -1]])
    kept = np.ascontiguousarray(pixels[:, first : last + 1])
    for frame in frames:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        position[1] = float(position[1]) + first * ct.volume.grid.spacing_mm[1]
    dataset.Rows = kept.shape[1]
    dataset.PixelData = pack_bits(kept.ravel())
    dataset.save_as(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_contour(tmp_path / "seg.dcm", LIVER, ct).mask, phantom.liver)


def drop(keyword: str) -> Callable[[pydicom.Dataset], object]:
    """Delete an attribute wherever it is."""

    def change(dataset: pydicom.Dataset) -> None:
        for element in list(dataset):
            if element.keyword == keyword:
                del dataset[element.tag]
            elif element.VR == "SQ":
                for item in element.value:
                    change(item)

    return change


def put(keyword: str, value: Any) -> Callable[[pydicom.Dataset], object]:
    """Give an attribute another value wherever it is."""

    def change(dataset: pydicom.Dataset) -> None:
        for element in list(dataset):
            if element.keyword == keyword:
                element.value = value
            elif element.VR == "SQ":
                for item in element.value:
                    change(item)

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(
            ("seg.dcm", drop(keyword))
            for keyword in (
                "SegmentSequence",
                "SegmentNumber",
                "SegmentationType",
                "PerFrameFunctionalGroupsSequence",
                "SharedFunctionalGroupsSequence",
                "SegmentIdentificationSequence",
                "PlanePositionSequence",
                "ImagePositionPatient",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelSpacing",
                "PixelData",
                "Rows",
            )
        ),
        ("seg.dcm", put("ImagePositionPatient", ["NaN", "0", "0"])),
        ("seg.dcm", put("ImagePositionPatient", ["0", "inf", "0"])),
        ("seg.dcm", put("PixelSpacing", ["-inf", "1"])),
        ("seg.dcm", put("ImagePositionPatient", ["0", "0"])),
        *(
            ("rs.dcm", drop(keyword))
            for keyword in (
                "StructureSetROISequence",
                "ROIContourSequence",
                "ROINumber",
                "ROIName",
                "ReferencedROINumber",
                "ContourSequence",
                "ContourGeometricType",
                "ContourData",
            )
        ),
        ("seg.dcm", lambda seg: seg.SegmentSequence.append(seg.SegmentSequence[0])),
        ("rs.dcm", lambda rs: rs.StructureSetROISequence.append(rs.StructureSetROISequence[0])),
        ("rs.dcm", put("ContourData", ["NaN"] * 9)),
        ("rs.dcm", put("ContourData", ["inf"] * 9)),
        ("rs.dcm", put("ContourData", ["1"] * 8)),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_what_lacks_attributes_or_holds_no_numbers_is_refused_in_a_sentence(
    name: str,
    change: Callable[[pydicom.Dataset], object],
    study: tuple[CtSeries, Phantom, Slices],
    tmp_path: Path,
) -> None:
    ct, _, _ = study
    dataset = pydicom.dcmread(tmp_path / name)
    with pydicom.config.disable_value_validation():
        change(dataset)
        dataset.save_as(tmp_path / name)
    refusal(tmp_path / name, ct)
