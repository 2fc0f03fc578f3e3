"""One instance -> HU: rescale, padding, transfer syntaxes, damage."""

from __future__ import annotations

import subprocess
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.ct_image import CtImage, Localizer, read_ct_image
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.ct_writer import PixelFormat, to_bytes, write_ct_series
from tests.support.phantom import abdomen

CODED = {
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
}
DCMTK = {
    "big endian": (["dcmconv", "+tb"], ExplicitVRBigEndian),
    "jpeg lossless": (["dcmcjpeg", "+el"], JPEGLossless),
    "jpeg lossless sv1": (["dcmcjpeg", "+e1"], JPEGLosslessSV1),
}
COMPRESSED = ["rle", "jpeg-ls", "jpeg2000", "jpeg lossless", "jpeg lossless sv1"]
FORMATS: tuple[PixelFormat, ...] = ("12-bit unsigned", "16-bit signed")


def body_slice() -> NDArray[np.int16]:
    """Return one 64 x 90 slice of the phantom, clear of the range that 12 bits hold."""
    hu = abdomen((1, 64, 90), (5.0, 5.0, 4.2)).volume.hu
    return np.asarray(np.clip(hu, -1020, 1500), dtype=np.int16)


def image(hu: NDArray[np.int16] | None = None, fmt: PixelFormat = "16-bit signed") -> FileDataset:
    values = body_slice() if hu is None else hu
    depth, rows, columns = values.shape
    affine = np.diag([5.0, 1.6, 1.5, 1.0])[[2, 1, 0, 3]]
    return write_ct_series(Volume(values, Grid((depth, rows, columns), affine)), pixel_format=fmt)[
        0
    ]


def in_syntax(dataset: FileDataset, name: str, folder: Path) -> bytes:
    if name in CODED:
        dataset = pydicom.dcmread(BytesIO(to_bytes(dataset)))
        if CODED[name].is_encapsulated:
            dataset.compress(CODED[name], generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = CODED[name]
        file = to_bytes(dataset)
    else:
        source, result = folder / "in.dcm", folder / "out.dcm"
        source.write_bytes(to_bytes(dataset))
        command, _ = DCMTK[name]
        subprocess.run([*command, str(source), str(result)], check=True)
        file = result.read_bytes()
    expected = CODED[name] if name in CODED else DCMTK[name][1]
    assert pydicom.dcmread(BytesIO(file)).file_meta.TransferSyntaxUID == expected
    return file


def read(dataset: FileDataset) -> CtImage:
    result = read_ct_image(to_bytes(dataset))
    assert isinstance(result, CtImage)
    return result


class TestTransferSyntaxes:
    @pytest.mark.parametrize("fmt", FORMATS)
    @pytest.mark.parametrize("name", [*CODED, *DCMTK])
    def test_lossless_is_exact(self, name: str, fmt: PixelFormat, tmp_path: Path) -> None:
        result = read_ct_image(in_syntax(image(fmt=fmt), name, tmp_path))
        assert isinstance(result, CtImage)
        assert result.hu.dtype == np.int16
        np.testing.assert_array_equal(result.hu, body_slice()[0])
        assert not result.is_lossy

    @pytest.mark.parametrize("fmt", FORMATS)
    @pytest.mark.parametrize(
        ("syntax", "options", "error_hu"),
        [(JPEGLSNearLossless, {"jls_error": 3}, 3), (JPEG2000, {"j2k_psnr": [75]}, 60)],
    )
    def test_lossy_is_near_and_said_so(
        self, syntax: str, options: dict[str, Any], error_hu: int, fmt: PixelFormat
    ) -> None:
        dataset = image(fmt=fmt)
        dataset.compress(syntax, generate_instance_uid=False, **options)
        result = read(dataset)
        differences = np.abs(result.hu.astype(int) - body_slice()[0])
        assert 0 < differences.max() <= error_hu
        assert result.is_lossy

    def test_jpeg2000_that_says_it_is_lossless_is_believed(self) -> None:
        dataset = image()
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = JPEG2000
        dataset.LossyImageCompression = "00"
        assert not read(dataset).is_lossy

    def test_attribute_tells_of_loss_before_decompression(self) -> None:
        dataset = image()
        dataset.LossyImageCompression = "01"
        assert read(dataset).is_lossy

    @pytest.mark.parametrize("name", COMPRESSED)
    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.97])
    def test_cut_off_frame_is_refused(self, name: str, kept: float, tmp_path: Path) -> None:
        dataset = pydicom.dcmread(BytesIO(in_syntax(image(), name, tmp_path)))
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[: int(len(frame) * kept)]])
        with pytest.raises(SeriesRefused, match="damaged or cannot be decoded"):
            read(dataset)

    def test_wrong_byte_inside_a_jpeg_ls_frame_is_refused(self, tmp_path: Path) -> None:
        dataset = pydicom.dcmread(BytesIO(in_syntax(image(), "jpeg-ls", tmp_path)))
        frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        frame[len(frame) // 2] ^= 0x55
        dataset.PixelData = encapsulate([bytes(frame)])
        with pytest.raises(SeriesRefused, match="damaged or cannot be decoded"):
            read(dataset)

    @pytest.mark.parametrize("name", COMPRESSED)
    @pytest.mark.parametrize("rows", [63, 65])
    def test_wrong_rows_are_refused(self, name: str, rows: int, tmp_path: Path) -> None:
        dataset = pydicom.dcmread(BytesIO(in_syntax(image(), name, tmp_path)))
        dataset.Rows = rows
        with pytest.raises(SeriesRefused, match="damaged or cannot be decoded"):
            read(dataset)

    def test_unknown_transfer_syntax_is_refused(self) -> None:
        file = to_bytes(image()).replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.9\x00")
        with pytest.raises(SeriesRefused, match=r"not supported \(1\.2\.840\.10008\.1\.2\.9\)"):
            read_ct_image(file)

    @pytest.mark.parametrize("signed", [0, 1])
    def test_bits_above_bits_stored_are_ignored(self, signed: int) -> None:
        dataset = image(fmt="12-bit unsigned")
        dataset.PixelRepresentation = signed
        dataset.RescaleIntercept = 0
        stored = np.array([0, 5, 2047, 2048, 4095], dtype="<u2")
        dataset.Rows, dataset.Columns = 1, 5
        dataset.PixelData = (stored | 0x5000).tobytes()
        expected = [0, 5, 2047, -2048, -1] if signed else [0, 5, 2047, 2048, 4095]
        assert read(dataset).hu.tolist() == [expected]


@pytest.mark.parametrize("fmt", FORMATS)
def test_dciodvfy_finds_no_error_in_what_the_writer_writes(
    fmt: PixelFormat, tmp_path: Path
) -> None:
    """Else the other tests would read something that no scanner sends."""
    file = tmp_path / "ct.dcm"
    file.write_bytes(to_bytes(image(fmt=fmt)))
    report = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    assert "CTImage" in report.stderr
    assert "Error" not in report.stderr


class TestRescale:
    def test_each_slice_has_its_own(self) -> None:
        dataset = image(np.array([[[0, 10, 100]]], dtype=np.int16))
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -2048 - 7
        result = read(dataset)
        assert result.hu.tolist() == [[-7, 13, 193]]
        assert result.hu.dtype == np.int16

    def test_fractions_give_float32(self) -> None:
        dataset = image(np.array([[[0, 10, 100]]], dtype=np.int16))
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5, -512
        result = read(dataset)
        assert result.hu.tolist() == [[0.0, 5.0, 50.0]]
        assert result.hu.dtype == np.float32

    def test_beyond_int16_gives_float32(self) -> None:
        dataset = image(np.array([[[0, 10, 30000]]], dtype=np.int16))
        dataset.RescaleSlope, dataset.RescaleIntercept = 4, -4096
        result = read(dataset)
        assert result.hu.tolist() == [[0.0, 40.0, 120000.0]]
        assert result.hu.dtype == np.float32

    def test_one_fractional_slice_makes_the_volume_float32(self) -> None:
        hu = np.arange(3 * 2 * 4, dtype=np.int16).reshape(3, 2, 4)
        affine = np.diag([5.0, 1.6, 1.5, 1.0])[[2, 1, 0, 3]]
        slices = write_ct_series(Volume(hu, Grid(hu.shape, affine)), pixel_format="16-bit signed")
        slices[1].RescaleSlope, slices[1].RescaleIntercept = 0.5, -512
        read_back = read_ct_series([to_bytes(s) for s in slices], min_slices=2).volume.hu
        assert read_back.dtype == np.float32
        np.testing.assert_array_equal(read_back[1], hu[1] / 2)
        np.testing.assert_array_equal(read_back[::2], hu[::2])


class TestPadding:
    # HU of the writer's stored value s is s - 1024.
    HU = np.array([[[-3024, 40, -3000, -1024, 900]]], dtype=np.int16)

    def test_value_becomes_air(self) -> None:
        dataset = image(self.HU)
        dataset.PixelPaddingValue = -2000
        result = read(dataset)
        assert result.hu.tolist() == [[-1024, 40, -3000, -1024, 900]]
        assert result.padding_hu == -3024

    def test_a_value_of_air_is_padding_within_the_slice_too(self) -> None:
        hu = np.full((1, 3, 5), 40, dtype=np.int16)
        hu[0, 1, 2] = -3024
        dataset = image(hu)
        dataset.PixelPaddingValue = -2000
        assert read(dataset).hu.tolist()[1] == [40, 40, -1024, 40, 40]

    @pytest.mark.parametrize(
        "places", [[(0, 3)], [(4, 3)], [(2, 0)], [(2, 8)], [(0, 3), (1, 2)], [(4, 1), (3, 2)]]
    )
    def test_a_value_of_tissue_is_padding_where_it_reaches_a_side(
        self, places: list[tuple[int, int]]
    ) -> None:
        hu = np.full((1, 5, 9), 40, dtype=np.int16)
        for place in [*places, (2, 5)]:
            hu[0][place] = 0
        expected = hu[0].copy()
        for place in places:
            expected[place] = -1024
        dataset = image(hu)
        dataset.PixelPaddingValue = 1024
        result = read(dataset)
        np.testing.assert_array_equal(result.hu, expected)
        assert result.unbelieved_padding == 1

    def test_negative_value_written_as_unsigned(self) -> None:
        dataset = image(self.HU)
        dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
        assert read(dataset).hu.tolist() == [[-1024, 40, -3000, -1024, 900]]

    @pytest.mark.parametrize("ends", [(-2000, -1976), (-1976, -2000)])
    def test_range_becomes_air(self, ends: tuple[int, int]) -> None:
        dataset = image(self.HU)
        dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = ends
        assert read(dataset).hu.tolist() == [[-1024, 40, -1024, -1024, 900]]

    def test_fractional_rescale_too(self) -> None:
        dataset = image(self.HU)
        dataset.PixelPaddingValue = -2000
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5, -512
        assert read(dataset).hu.tolist() == [[-1024, 20, -1500, -512, 450]]

    def test_value_that_no_pixel_has_changes_nothing(self) -> None:
        dataset = image(self.HU)
        dataset.PixelPaddingValue = -1
        result = read(dataset)
        np.testing.assert_array_equal(result.hu, self.HU[0])
        assert result.padding_hu is None


@cache
def small_file() -> bytes:
    return to_bytes(image(np.arange(15, dtype=np.int16).reshape(1, 3, 5)))


@pytest.mark.filterwarnings(
    "ignore:Unknown encoding",
    "ignore:The value length",
    "ignore:Invalid value for VR",
    "ignore:Expected (im|ex)plicit VR",
)
class TestDamage:
    @given(st.data())
    @settings(max_examples=400)
    def test_any_damage_is_refused_or_harmless(self, data: st.DataObject) -> None:
        """Law: whatever bytes come, SeriesRefused is the only exception."""
        damaged = bytearray(small_file())
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(128, len(damaged) - 1))
            damaged[place] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(damaged)))
        try:
            result = read_ct_image(bytes(damaged[: cut or None]))
        except SeriesRefused as refusal:
            assert "\n" not in str(refusal)  # noqa: PT017
        else:
            assert isinstance(result, CtImage | Localizer)

    @pytest.mark.parametrize("file", [b"", b"not DICOM", b"\0" * 128 + b"DICM", b"\xff" * 4000])
    def test_what_is_not_dicom_is_refused(self, file: bytes) -> None:
        with pytest.raises(SeriesRefused):
            read_ct_image(file)
