"""What counts as DICOM by its first bytes, and what such a file is completed with."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest

from orthanc_liver.dicom.part10 import completed, starts_as_dicom
from tests.support.bad_input import tiny_slices
from tests.support.ct_writer import to_bytes

REST = bytes(200)


@pytest.mark.parametrize(
    ("start", "is_one"),
    [
        pytest.param(bytes(128) + b"DICM", True, id="marked"),
        pytest.param(b"\x08\0\x05\0CS\x0a\0ISO_IR 100", True, id="explicit"),
        pytest.param(b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", True, id="implicit"),
        pytest.param(b"\0\x08\0\x05CS\0\x0aISO_IR 100", True, id="big endian"),
        pytest.param(b"\x08\0\0\0\x04\0\0\0\x64\0\0\0", True, id="group length"),
        pytest.param(b"\x02\0\0\0UL\x04\0\x64\0\0\0", True, id="meta header"),
        pytest.param(b"\x08\0\x05\0\x01\x04\0\0", False, id="a first value of 1025 bytes"),
        pytest.param(b"\x08\0\x05\0ZZ\x0a\0ISO_IR 100", False, id="no VR"),
        pytest.param(b"\x08\0\x77\x77CS\x0a\0ISO_IR 100", False, id="no attribute"),
        pytest.param(b"\0\x08\x77\x77CS\0\x0aISO_IR 100", False, id="none in big endian"),
        pytest.param(b"\x10\0\x10\0PN\x04\0A^B ", False, id="another group"),
        pytest.param(b"\x08\0", False, id="two bytes"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_what_starts_as_dicom(start: bytes, is_one: bool) -> None:
    assert starts_as_dicom(start if len(start) < 8 else start + REST) is is_one


@pytest.mark.parametrize("file", [b"not DICOM", bytes(128) + b"DICM" + b"not DICOM", b""])
def test_what_is_no_dicom_stays(file: bytes) -> None:
    assert completed(file) == file


def test_a_whole_file_stays() -> None:
    file = to_bytes(tiny_slices()[0])
    assert completed(file) == file


def test_what_is_completed_is_a_file_as_part_10_has_it() -> None:
    """Orthanc, and what is stricter than our own reader, take it."""
    whole = to_bytes(tiny_slices()[0])
    made = pydicom.dcmread(BytesIO(completed(whole[whole.index(b"\x08\0\x05\0CS") :])))
    assert made.file_meta.FileMetaInformationGroupLength == 28
    assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert made == pydicom.dcmread(BytesIO(whole))


@pytest.mark.parametrize(
    ("body", "syntax"),
    [
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", "1.2.840.10008.1.2.1"),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "1.2.840.10008.1.2"),
        (b"\0\x08\0\x05CS\0\x0aISO_IR 100", "1.2.840.10008.1.2.2"),
    ],
)
def test_a_data_set_alone_is_completed_with_its_own_syntax(body: bytes, syntax: str) -> None:
    for file in (body, bytes(128) + b"DICM" + body):
        made = pydicom.dcmread(BytesIO(completed(file)))
        assert made.file_meta.TransferSyntaxUID == syntax
        assert made.SpecificCharacterSet == "ISO_IR 100"
