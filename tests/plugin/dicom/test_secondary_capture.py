"""The slices as secondary captures, asked of other people's programs, and pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from orthanc_liver.dicom import secondary_capture, slice_pictures
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.result import LOOK_HERE_COLOUR, Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.secondary_capture import MOST_SLICES, build_captures
from orthanc_liver.dicom.slice_pictures import OutlinedSlices
from orthanc_liver.engine.protocol import DOUBTFUL, LOOK, SURE
from tests.support.ct_writer import write_ct_series
from tests.support.judges import dciodvfy_errors, program, succeed
from tests.support.phantom import Orientation, oriented, small_abdomen

MADE_BY = Provenance("1.2.3", "liver-unet compact", "0123456789abcdef" * 4)
CREATED = datetime(2025, 3, 4, 5, 6, 7)
COLOUR = (40, 200, 90)


def ct(position: Orientation = "HFS", **header: Any) -> CtSeries:
    phantom = oriented(small_abdomen(), position)
    slices = write_ct_series(phantom.volume)
    for one in slices:
        for keyword, value in header.items():
            setattr(one, keyword, value)
    return read_ct_series([to_bytes(one) for one in slices])


def outlined(series: CtSeries) -> OutlinedSlices:
    """A mask of no symmetry, with a hole, on slices 2 to 7, and a place to look at on one."""
    mask = np.zeros(series.volume.grid.shape, dtype=bool)
    mask[2:8, 5:20, 7:15] = True
    mask[4, 9:12, 9:11] = False
    look_here = np.zeros_like(mask)
    look_here[3, 6:9, 8:12] = True
    return OutlinedSlices(series, mask, look_here, RoiStyle("Leber", COLOUR, "Liver auto: S1"))


def captured(slices: OutlinedSlices, grade: str = SURE) -> list[pydicom.Dataset]:
    return build_captures(slices, 1512.3, grade, MADE_BY, CREATED)


def just_outside(mask: NDArray[np.bool_]) -> set[tuple[int, int]]:
    """By the definition, pixel by pixel."""
    inside = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    around = {
        (row + down, column + right)
        for row, column in inside
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))
    }
    return around - inside


def of_colour(picture: NDArray[np.uint8], colour: tuple[int, ...]) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in np.argwhere((picture == colour).all(axis=2))}


def test_the_outline_lies_just_outside_the_mask_and_nothing_else_is_covered() -> None:
    slices = outlined(ct())
    rows, columns = slices.mask.shape[1:]
    captures = captured(slices)
    assert len(captures) == 6
    for number, one in zip(range(2, 8), captures, strict=True):
        picture = one.pixel_array[:rows]
        edge = just_outside(slices.mask[number])
        assert of_colour(picture, COLOUR) == edge
        here = just_outside(slices.look_here[number]) - edge  # type: ignore[index]
        assert of_colour(picture, LOOK_HERE_COLOUR) == here
        hu = slices.series.volume.hu[number].astype(float)
        grey = ((hu + 110) / 350).clip(0, 1) * 255
        drawn = (picture != picture[..., :1]).any(axis=2)
        margin = np.zeros_like(drawn)
        margin[rows // 2 - 8 : rows // 2 + 8, [*range(18), *range(columns - 18, columns)]] = True
        assert np.abs(picture[..., 0] - grey)[~drawn & ~margin].max() <= 1
        assert one.Rows > rows  # the words
        assert one.pixel_array[rows:].any()
    assert len({one.Rows for one in captures}) == 1


def test_other_programs_read_them_where_the_ct_lies(tmp_path: Path) -> None:
    slices = outlined(ct())
    for one in captured(slices):
        path = tmp_path / f"{one.InstanceNumber:02}.dcm"
        one.save_as(path, enforce_file_format=True)
        assert dciodvfy_errors(path) == []
        succeed([program("dcmj2pnm"), "--write-png", str(path), str(path.with_suffix(".png"))])
        seen_by_dcmtk = np.asarray(Image.open(path.with_suffix(".png")))
        np.testing.assert_array_equal(seen_by_dcmtk, one.pixel_array)
        seen_by_itk: Any = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(seen_by_itk)[0], one.pixel_array)
        grid = slices.series.volume.grid
        place = grid.to_mm(np.array([one.InstanceNumber + 1, 0.0, 0.0]))
        np.testing.assert_allclose(seen_by_itk.GetOrigin(), place, atol=1e-4)
        np.testing.assert_allclose(seen_by_itk.GetSpacing()[:2], grid.spacing_mm[:0:-1], rtol=1e-5)


def test_they_say_what_they_are_and_nobody_is_named_in_the_pixels() -> None:
    slices = outlined(ct(PatientName="Doe^Jane", PatientID="4711"))
    one = captured(slices)[1]
    assert (one.SOPClassUID.name, one.Modality) == ("Secondary Capture Image Storage", "OT")
    assert list(one.ImageType) == ["DERIVED", "SECONDARY"]
    assert (one.PatientName, one.PatientID) == ("Doe^Jane", "4711")
    assert one.BurnedInAnnotation == "NO"
    assert one.PhotometricInterpretation == "RGB"
    assert one.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert one.SourceImageSequence[0].ReferencedSOPInstanceUID == slices.series.sop_instance_uids[3]
    [referenced] = one.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == slices.series.header.SeriesInstanceUID
    assert MADE_BY.model_sha256 in one.DerivationDescription
    assert "For review" in one.DerivationDescription
    nameless = captured(outlined(ct(PatientName="", PatientID="")))[1]
    np.testing.assert_array_equal(one.pixel_array, nameless.pixel_array)


@pytest.mark.parametrize(
    ("position", "left", "down"), [("HFS", "L", "P"), ("FFS", "R", "P"), ("HFP", "R", "A")]
)
def test_the_sides_of_the_patient_are_told(position: Orientation, left: str, down: str) -> None:
    [one, *_] = captured(outlined(ct(position)))
    assert list(one.PatientOrientation) == [left, down]


def test_the_doubt_stands_on_every_slice() -> None:
    slices = outlined(ct())
    rows = slices.mask.shape[1]
    doubtful, sure = captured(slices, DOUBTFUL), captured(slices, SURE)
    for one, other in zip(doubtful, sure, strict=True):
        is_red = (one.pixel_array[rows:] == (255, 90, 60)).all(axis=2)
        assert is_red.any()
        assert not (other.pixel_array[rows:] == (255, 90, 60)).all(axis=2).any()
    assert {one.SOPInstanceUID for one in doubtful}.isdisjoint(one.SOPInstanceUID for one in sure)


@pytest.mark.parametrize("grade", [LOOK, DOUBTFUL])
def test_the_slices_to_look_at_first_are_named(grade: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def with_text_below(pictures: Any) -> Any:
        said[:] = [" ".join(text for text, _ in lines) for _, lines in pictures]
        return slice_pictures.with_text_below(pictures)

    monkeypatch.setattr(secondary_capture, "with_text_below", with_text_below)
    slices = replace(outlined(ct()), look_at=[(4, 4), (6, 7)])
    captured(slices, grade)
    assert len(said) == 6
    assert all("Look first at slices 4-4 and 6-7." in one for one in said)
    captured(slices, SURE)
    assert not any("Look first" in one for one in said)


def test_of_many_slices_every_second_is_shown_and_of_large_ones_every_second_pixel() -> None:
    series = ct()
    slices, shape = outlined(series), (2 * MOST_SLICES, 600, 700)
    grid = series.volume.grid
    many = replace(
        series,
        volume=replace(
            series.volume,
            hu=np.zeros(shape, dtype=np.int16),
            grid=replace(grid, shape=shape),
        ),
        sop_instance_uids=tuple(f"1.2.{number}" for number in range(shape[0])),
    )
    mask = np.zeros(shape, dtype=bool)
    mask[7:80, 100:301, 80:301] = True
    captures = captured(replace(slices, series=many, mask=mask, look_here=None))
    assert len(captures) == 37
    z_mm = [float(one.ImagePositionPatient[2]) for one in captures]
    np.testing.assert_allclose(np.diff(z_mm), 2 * grid.spacing_mm[0], atol=1e-6)
    assert captures[0].Columns == 350
    np.testing.assert_allclose(captures[0].PixelSpacing, 2 * grid.spacing_mm[1:])
    edge = of_colour(captures[0].pixel_array[:300], COLOUR)
    assert edge == just_outside(mask[7, ::2, ::2])
