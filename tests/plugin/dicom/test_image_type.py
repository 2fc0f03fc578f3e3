"""Every word by which ImageType tells what is no CT of HU, and words that only look like them."""

from __future__ import annotations

import pytest

from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.image_type import is_not_hu, is_projection
from tests.support.bad_input import tiny_slices
from tests.support.ct_writer import to_bytes

PROJECTIONS = [
    *("MIP", "MinIP", "MIN IP", "MAX_IP", "MAXIP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE"),
    *("SSD", "VRT", "THIN_MIP", "mip"),
]
NOT_HU = [
    *("MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"),
    *("SUBTRACTION", "DIVISION", "MULTIPLICATION", "STD_DEVIATION", "SUBTRACTED", "IODINE"),
    *("DE_IODINE", "DEIODINE", "ZEFF", "Z_EFF", "Z EFFECTIVE", "EFFECTIVE Z", "RHO", "RHO_Z"),
    *("RHOZ", "iodine map"),
]
HU = [
    *("AXIAL", "AVERAGE", "MPR", "REFORMATTED", "VOLUME", "MONO_70KEV", "VMI", "MAT_REMOVED"),
    *("VNC", "CT_SOM5 SPI", "MIPS_LAB", "SHRIMP", "RHODIUM", "ADDITION", "RECON_STD", "NONE"),
]


@pytest.mark.parametrize("word", PROJECTIONS)
def test_projections(word: str) -> None:
    assert is_projection(["DERIVED", "SECONDARY", word])
    assert not is_not_hu(["DERIVED", "SECONDARY", word])


@pytest.mark.parametrize("word", NOT_HU)
def test_what_is_not_hu(word: str) -> None:
    assert is_not_hu(["DERIVED", "PRIMARY", "AXIAL", word])
    assert not is_projection(["DERIVED", "PRIMARY", "AXIAL", word])


@pytest.mark.parametrize("word", HU)
def test_hu(word: str) -> None:
    assert not is_projection(["ORIGINAL", "PRIMARY", word])
    assert not is_not_hu(["ORIGINAL", "PRIMARY", word])


def test_a_projection_that_somebody_asks_for_is_read_with_a_warning() -> None:
    slices = tiny_slices()
    for image in slices[2:]:
        image.ImageType = ["DERIVED", "SECONDARY", "MIP"]
    warnings = read_ct_series(map(to_bytes, slices), projections=True).warnings
    assert any("10 of 12 slices are projections" in one for one in warnings)
