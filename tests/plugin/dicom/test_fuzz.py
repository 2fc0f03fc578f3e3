"""Ten thousand mutated series through the reader: refused, or what pydicom itself sees."""

from __future__ import annotations

import struct
from functools import cache
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.patience import patience_s

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]
SLICES = 4
# What a refusal may never repeat.
MARKER = b"Secret"
LONGEST_S = 5.0
LIMIT = MemoryLimit(2048, SLICES)
EDGES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01", b" ", b"\\", b"9", b"-", b"e", b"."]
KEYWORDS = [
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PlanarConfiguration"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "PixelSpacing", "ImagePositionPatient"),
    *("ImageOrientationPatient", "FrameOfReferenceUID", "SOPInstanceUID", "SeriesInstanceUID"),
    *("SOPClassUID", "Modality", "ImageType", "PixelData", "SpecificCharacterSet", "PatientName"),
]
NUMBERS = ["", "0", "-1", "1", "2", "7", "65535", "NaN", "inf", "1e308", "-0.0", "1e-30", "x"]


@cache
def sound_files(syntax: str) -> tuple[bytes, ...]:
    """A small series; its pixels are big enough for every encoder."""
    hu = np.random.default_rng(4).integers(-1024, 1500, (SLICES, 33, 35)).astype(np.int16)
    affine = np.diag([3.0, 0.9, 0.8, 1.0])[[2, 1, 0, 3]]
    slices = write_ct_series(
        Volume(hu, Grid(hu.shape, affine)),
        patient_name="Secret^Patient",
        pixel_format="16-bit signed",
        transfer_syntax=syntax,
    )
    return tuple(to_bytes(one) for one in slices)


def damaged_bytes(data: st.DataObject, file: bytes) -> bytes:
    """Bytes changed, left out, doubled or cut off, after the preamble."""
    content = bytearray(file)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(132, max(len(content) - 1, 132)))
        match data.draw(st.integers(0, 5)):
            case 0:
                content[place : place + 1] = data.draw(st.sampled_from(EDGES))
            case 1:
                content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case 2:
                del content[place : place + data.draw(st.integers(1, 40))]
            case 3:
                content[place:place] = content[place : place + data.draw(st.integers(1, 40))]
            case 4:
                length = data.draw(st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                content[place : place + 4] = struct.pack("<I", length)
            case _:
                if data.draw(st.integers(0, 3)) == 0:
                    del content[place:]
    return bytes(content)


def damaged_values(data: st.DataObject, file: bytes) -> bytes:
    """One attribute with a value that it should not have, or without any."""
    dataset = pydicom.dcmread(BytesIO(file))
    for _ in range(data.draw(st.integers(1, 2))):
        keyword = data.draw(st.sampled_from(KEYWORDS))
        if keyword not in dataset:
            continue
        element = dataset[keyword]
        match data.draw(st.integers(0, 2)):
            case 0:
                del dataset[keyword]
                continue
            case 1 if element.VR == "US":
                element.value = data.draw(st.integers(0, 65535))
            case 1 if element.VR == "OW" and not dataset.file_meta.TransferSyntaxUID.is_compressed:
                element.value = element.value[: data.draw(st.integers(0, len(element.value)))]
            case _ if element.VR in ("DS", "IS", "CS", "LO", "UI", "PN"):
                count = data.draw(st.integers(1, 6))
                values = [data.draw(st.sampled_from(NUMBERS)) for _ in range(count)]
                raw = "\\".join(values).encode()
                tag, vr = element.tag, element.VR
                dataset[tag] = pydicom.dataelem.RawDataElement(
                    tag, vr, len(raw), raw + b" " * (len(raw) % 2), 0, False, True
                )
            case _:
                continue
    return to_bytes(dataset)


def independent(file: bytes) -> tuple[NDArray[np.float64], FileDataset]:
    """HU and attributes as pydicom itself reads them, by none of our code."""
    dataset = pydicom.dcmread(BytesIO(file))
    # libjpeg takes a JPEG-LS RESET of 0 for 0, where the standard means its default, 64.
    jpeg_ls = dataset.file_meta.TransferSyntaxUID in JPEGLSTransferSyntaxes
    dataset.pixel_array_options(decoding_plugin="pyjpegls" if jpeg_ls else "")
    stored = dataset.pixel_array.astype(np.float64)
    return stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept), dataset


def check(series: CtSeries, files: tuple[bytes, ...]) -> None:
    """What was read is what pydicom sees, slice by slice: the HU, the place, the identity."""
    seen = {str(d.SOPInstanceUID): (hu, d) for hu, d in map(independent, files)}
    grid = series.volume.grid
    assert len(series.sop_instance_uids) == len(set(series.sop_instance_uids)) >= SLICES - 1
    for index, uid in enumerate(series.sop_instance_uids):
        hu, dataset = seen[uid]
        np.testing.assert_allclose(series.volume.hu[index], hu, rtol=1e-5, atol=1e-3)
        orientation = np.array(dataset.ImageOrientationPatient, dtype=float)
        spacing_mm = np.array(dataset.PixelSpacing, dtype=float)
        for row, column in ((0, 0), (5, 9)):
            along = orientation[:3] * column * spacing_mm[1]
            down = orientation[3:] * row * spacing_mm[0]
            expected_mm = np.array(dataset.ImagePositionPatient, dtype=float) + along + down
            found_mm = grid.to_mm(np.array([float(index), row, column]))
            np.testing.assert_allclose(found_mm, expected_mm, atol=0.15)
        assert dataset.Modality == "CT"
        assert str(dataset.FrameOfReferenceUID) == str(series.header.FrameOfReferenceUID)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("damage", [damaged_bytes, damaged_values])
def test_ten_thousand_mutated_instances(damage: object) -> None:
    """Law: refused in one clean sentence, or the very volume that pydicom sees; and in time."""
    outcomes = {"read": 0, "refused": 0}

    @given(st.data())
    @settings(
        max_examples=5000,
        deadline=1000 * patience_s(LONGEST_S),
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def law(data: st.DataObject) -> None:
        files = list(sound_files(data.draw(st.sampled_from(SYNTAXES))))
        hit = data.draw(st.integers(0, SLICES - 1))
        with pydicom.config.disable_value_validation():
            files[hit] = damage(data, files[hit])  # type: ignore[operator] # one of ours
        try:
            series = read_ct_series(files, min_slices=2, limit=LIMIT)
        except SeriesRefused as refusal:
            sentence = str(refusal)
            assert sentence.endswith(".")
            assert "\n" not in sentence
            assert MARKER.decode() not in sentence
            outcomes["refused"] += 1
        else:
            check(series, tuple(files))
            outcomes["read"] += 1

    law()
    # Neither all damaged beyond reading nor all harmless.
    assert min(outcomes.values()) > 200, outcomes
