"""Instances -> Volume: the same voxels at the same place, whatever the order or the orientation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.bad_input import crossing, renamed, tiny_slices, tiny_volume
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.grids import grids
from tests.support.phantom import ORIENTATIONS, Orientation, oriented, small_abdomen
from tests.support.real_data import real_ct


def read(slices: list[FileDataset], min_slices: int = 10) -> CtSeries:
    return read_ct_series((to_bytes(s) for s in slices), min_slices=min_slices)


def uids(slices: list[FileDataset]) -> tuple[str, ...]:
    return tuple(s.SOPInstanceUID for s in slices)


@cache
def tiny_files() -> tuple[bytes, ...]:
    return tuple(to_bytes(s) for s in tiny_slices())


class TestOrder:
    @given(st.permutations(range(12)))
    @settings(max_examples=25)
    def test_order_of_instances_does_not_matter(self, order: list[int]) -> None:
        """Law: read(any order) == what was written, HU, affine and UIDs."""
        series = read_ct_series([tiny_files()[i] for i in order])
        written = tiny_volume()
        np.testing.assert_array_equal(series.volume.hu, written.hu)
        np.testing.assert_allclose(series.volume.grid.affine, written.grid.affine, atol=1e-9)
        assert series.sop_instance_uids == uids(tiny_slices())
        assert series.header.SOPInstanceUID == uids(tiny_slices())[0]
        assert series.warnings == ()

    @given(st.permutations(range(14)))
    @settings(max_examples=10)
    def test_order_does_not_matter_among_duplicates(self, order: list[int]) -> None:
        """Law: which of two copies is kept does not depend on which came first."""
        slices = tiny_slices()
        for copied in (0, 5):
            slices.append(renamed(tiny_slices()[copied], f"1.2.{copied}"))
        series = read([slices[i] for i in order])
        np.testing.assert_array_equal(series.volume.hu, tiny_volume().hu)
        assert series.sop_instance_uids[0] == min("1.2.0", uids(tiny_slices())[0])
        assert series.warnings == ("Set aside: identical duplicates (2).",)

    @given(st.permutations(range(12)), st.integers(2, 4))
    @settings(max_examples=25, deadline=None)
    def test_no_order_hides_a_second_pass(self, order: list[int], passes: int) -> None:
        """Law: interleaved passes are refused with one sentence, in whatever order they come."""
        slices = tiny_slices()
        for number, image in enumerate(slices):
            image.AcquisitionNumber = 3 + number % passes
        sentences = set()
        for some in (slices, [slices[i] for i in order]):
            with pytest.raises(SeriesRefused, match="two passes or more") as refusal:
                read(some)
            sentences.add(str(refusal.value))
        assert len(sentences) == 1

    @given(st.permutations(range(12)), st.lists(st.integers(1, 99), min_size=12, max_size=12))
    @settings(max_examples=25, deadline=None)
    def test_steps_that_only_rise_or_fall_are_one_pass(
        self, order: list[int], numbers: list[int]
    ) -> None:
        """Law: step-and-shoot stays readable, whatever its steps; at most one is warned about."""
        slices = tiny_slices()
        for image, number in zip(slices, sorted(numbers), strict=True):
            image.AcquisitionNumber = number
        assert len(read([slices[i] for i in order]).warnings) <= 1

    def test_instances_may_come_from_a_generator_once(self) -> None:
        def once() -> Iterator[bytes]:
            yield from tiny_files()

        assert read_ct_series(once()).volume.hu.shape == (12, 7, 9)


class TestGeometry:
    @given(grids(shear=0.4))  # what leans by more than 35 degrees is refused
    @settings(max_examples=60)
    def test_written_grid_is_read_back(self, grid: Grid) -> None:
        """Law: any oblique or sheared grid survives DICOM; slices come out along row x column."""
        hu = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape)
        series = read(write_ct_series(Volume(hu, grid)), min_slices=2)
        normal = np.cross(grid.affine[:3, 2], grid.affine[:3, 1])
        if normal @ grid.affine[:3, 0] < 0:
            backwards = grid.affine.copy()
            backwards[:3, 0] *= -1
            backwards[:3, 3] = grid.to_mm(np.array([grid.shape[0] - 1.0, 0, 0]))
            hu, grid = hu[::-1], Grid(grid.shape, backwards)
        np.testing.assert_array_equal(series.volume.hu, hu)
        np.testing.assert_allclose(series.volume.grid.affine, grid.affine, atol=1e-7)

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_phantom_stays_in_place(self, orientation: Orientation) -> None:
        phantom = oriented(small_abdomen(), orientation)
        series = read(write_ct_series(phantom.volume))
        grid = series.volume.grid
        index = np.rint(phantom.volume.grid.to_index(grid.to_mm(_all_indices(grid)))).astype(int)
        np.testing.assert_array_equal(
            series.volume.hu.ravel(), phantom.volume.hu[tuple(index.T)].ravel()
        )
        step = grid.affine[:3, 0]
        assert np.cross(grid.affine[:3, 2], grid.affine[:3, 1]) @ step > 0

    @pytest.mark.parametrize("spacing_mm", [0.625, 1.25, 2.5, 3.27])
    def test_positions_rounded_to_a_tenth_are_accepted(self, spacing_mm: float) -> None:
        volume = tiny_volume(slice_mm=spacing_mm)
        slices = write_ct_series(volume)
        for s in slices:
            s.ImagePositionPatient = [round(float(v), 1) for v in s.ImagePositionPatient]
        index = np.array([[0.0, 0, 0], [11, 6, 8]])
        np.testing.assert_allclose(
            read(slices).volume.grid.to_mm(index), volume.grid.to_mm(index), atol=0.12
        )


def _all_indices(grid: Grid) -> NDArray[np.float64]:
    return np.indices(grid.shape).reshape(3, -1).T.astype(np.float64)


def assert_agrees_with_simpleitk(folder: Path) -> None:
    """SimpleITK must see the same HU at the same millimetre as we do, padding apart."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    series = read_ct_series(p.read_bytes() for p in files)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    judge = reader.Execute()
    grid = series.volume.grid
    assert judge.GetSize() == grid.shape[::-1]
    array = np.maximum(SimpleITK.GetArrayFromImage(judge), -1024)
    picks = np.random.default_rng(3).integers(0, grid.shape, (500, 3))
    for pick in np.vstack([picks, np.array(grid.shape) - 1, [[0, 0, 0]]]):
        point = grid.to_mm(pick.astype(np.float64))
        exact = judge.TransformPhysicalPointToContinuousIndex(point.tolist())
        column, row, slice_ = (round(v) for v in exact)
        assert np.abs(np.array([column, row, slice_]) - exact).max() < 0.02
        assert array[slice_, row, column] == pytest.approx(series.volume.hu[tuple(pick)], abs=0.01)


class TestAgainstSimpleITK:
    @pytest.mark.parametrize("orientation", [o for o in ORIENTATIONS if o != "tilted"])
    def test_phantom(self, orientation: Orientation, tmp_path: Path) -> None:
        phantom = oriented(small_abdomen(), orientation)
        for number, s in enumerate(write_ct_series(phantom.volume)):
            (tmp_path / f"{number * 7 % 31:03}.dcm").write_bytes(to_bytes(s))
        assert_agrees_with_simpleitk(tmp_path)

    @pytest.mark.parametrize("name", ["cptac_c3l_00189", "cort_liver"])
    def test_real_series(self, name: str) -> None:
        assert_agrees_with_simpleitk(real_ct("dicom", name))


class TestSetAside:
    def test_named_localizer(self) -> None:
        slices = tiny_slices()
        scout = crossing(tiny_slices()[3])
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        del scout.PixelData, scout.RescaleSlope
        series = read([scout, *slices])
        assert series.sop_instance_uids == uids(slices)
        assert series.warnings == ("Set aside: localizers (1).",)

    def test_image_across_the_stack(self) -> None:
        slices = tiny_slices()
        scout = crossing(tiny_slices()[3])
        series = read([*slices[:4], scout, *slices[4:]])
        assert series.sop_instance_uids == uids(slices)
        assert series.warnings == ("Set aside: images across the slices, as scout views are (1).",)

    def test_several_copies(self) -> None:
        slices = tiny_slices()
        series = read([*slices, slices[2], slices[2], slices[9]])
        assert series.sop_instance_uids == uids(slices)
        assert series.warnings == ("Set aside: identical duplicates (3).",)


def test_missing_slice_is_located() -> None:
    slices = tiny_slices()
    lower, upper = uids(slices)[4], uids(slices)[6]
    along_mm = [
        float(tiny_volume().grid.to_mm(np.array([i, 0.0, 0])) @ [0, 0.6, 0.8]) for i in (4, 6)
    ]
    del slices[5]
    with pytest.raises(SeriesRefused) as refusal:
        read(slices[::-1])
    assert f"between {along_mm[0]:.2f} mm and {along_mm[1]:.2f} mm" in str(refusal.value)
    assert f"instances {lower} and {upper}" in str(refusal.value)


@pytest.mark.parametrize("count", [4, 5, 12])
@pytest.mark.parametrize("slice_mm", [0.3, 0.6, 1.0, 5.0])
def test_no_missing_slice_hides_below_the_tolerance(count: int, slice_mm: float) -> None:
    """Law: whichever inner slice is left out, thin or thick, the series is refused."""
    slices = write_ct_series(tiny_volume(count, slice_mm))
    assert read(slices, min_slices=2).volume.hu.shape[0] == count
    for left_out in range(1, count - 1):
        with pytest.raises(SeriesRefused):
            read([s for i, s in enumerate(slices) if i != left_out], min_slices=2)


def test_header_is_the_first_slice_without_pixels_and_private_attributes() -> None:
    slices = tiny_slices()
    for number, image in enumerate(slices):
        image.PatientName = "Yamada^Tarou=山田^太郎"
        image.SpecificCharacterSet = "ISO_IR 192"
        image.add_new(0x00091001, "LO", "private")
        item = pydicom.Dataset()
        item.CodeValue = "1"
        item.add_new(0x00091001, "LO", "private")
        image.ProcedureCodeSequence = [item]
        image.InstanceNumber = 90 - number
    header = read(slices[::-1]).header
    assert str(header.PatientName) == "Yamada^Tarou=山田^太郎"
    assert header.InstanceNumber == 90
    assert header.StudyInstanceUID == slices[0].StudyInstanceUID
    assert header.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert "PixelData" not in header
    assert "Rows" not in header
    assert not any(element.tag.is_private for element in header.iterall())


def test_unreadable_attribute_is_left_out_with_a_note() -> None:
    slices = tiny_slices()
    for image in slices:
        image.add_new("PatientWeight", "DS", "")
    empty, damaged = b"\x10\x00\x30\x10DS\x00\x00", b"\x10\x00\x30\x10FD\x04\x00fat "
    series = read_ct_series(to_bytes(s).replace(empty, damaged) for s in slices)
    assert "PatientWeight" not in series.header
    assert series.warnings == ("PatientWeight of the first slice cannot be read and was left out.",)


def test_invalid_values_are_kept_and_cause_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    slices = tiny_slices()
    with pydicom.config.disable_value_validation():
        for image in slices:
            image.SpecificCharacterSet = "ISO_IR 1"
            image.StudyDate = "sometime"
            image.PatientSex = "unknown sex"
        files = [to_bytes(s) for s in slices]
    recwarn.clear()
    header = read_ct_series(files).header
    assert header.StudyDate == "sometime"
    assert header.PatientSex == "unknown sex"
    assert not recwarn.list


@pytest.mark.parametrize(
    ("keyword", "value", "note"),
    [
        ("LossyImageCompression", "01", "2 of 12 slices were compressed with loss; HU may be off."),
        ("RescaleType", "US", "RescaleType is US (unspecified)"),
        ("PixelPaddingValue", 1064, "The padding value stands for 40 HU, which tissue may have"),
    ],
)
def test_doubts_become_warnings(keyword: str, value: str | int, note: str) -> None:
    slices = tiny_slices()
    for image in slices[3:5]:
        image.PixelData = np.full((7, 9), 1064, dtype="<i2").tobytes()
        setattr(image, keyword, value)
    (warning,) = read(slices).warnings
    assert warning.startswith(note)
