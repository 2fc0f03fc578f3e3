"""The table of bad input, through the reader: refused with an error message, or read as it is."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.bad_input import READ, REFUSED, Change, Kept, tiny_slices
from tests.support.ct_writer import to_bytes

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.mark.parametrize(
    ("change", "what", "advice"), REFUSED, ids=[c.__name__[1:] for c, _, _ in REFUSED]
)
def test_refused_by_name(change: Change, what: str, advice: str) -> None:
    slices = tiny_slices()
    with pydicom.config.disable_value_validation():
        change(slices)
        files = [to_bytes(s) for s in slices]
    for order in (files, files[::-1]):
        with pytest.raises(SeriesRefused) as refusal:
            read_ct_series(order)
        sentence = str(refusal.value)
        assert what in sentence
        assert advice in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert "Secret" not in sentence
        assert "PHANTOM" not in sentence


def pydicoms_hu(dataset: FileDataset) -> NDArray[np.float64]:
    """The HU as pydicom itself reads them."""
    stored = pydicom.dcmread(BytesIO(to_bytes(dataset))).pixel_array.astype(np.float64)
    return np.asarray(stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept))


@pytest.mark.parametrize(("change", "warning"), READ, ids=[c.__name__[1:] for c, _ in READ])
def test_read_as_it_is(change: Callable[[list[FileDataset]], Kept], warning: str) -> None:
    slices = tiny_slices()
    with pydicom.config.disable_value_validation():
        kept = change(slices) or slices
        files = [to_bytes(s) for s in slices]
    expected = np.stack([pydicoms_hu(one) for one in kept])
    for order in (files, files[::-1]):
        series = read_ct_series(order)
        np.testing.assert_allclose(series.volume.hu, expected, rtol=1e-6)
        assert series.sop_instance_uids == tuple(one.SOPInstanceUID for one in kept)
        grid = series.volume.grid
        for index, one in enumerate(kept):
            place_mm = grid.to_mm(np.array([float(index), 0, 0]))
            np.testing.assert_allclose(place_mm, one.ImagePositionPatient, atol=1e-4)
        np.testing.assert_allclose(grid.spacing_mm[1:], kept[0].PixelSpacing, rtol=1e-6)
        assert bool(series.warnings) == bool(warning)
        assert warning in " ".join(series.warnings)
        first = pydicom.dcmread(BytesIO(to_bytes(kept[0])))
        assert series.header.get("PatientName") == first.get("PatientName")


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(2, 30_000, 30_000), (4000, 1024, 1024), (1, 65_535, 65_535)]
)
def test_what_would_not_fit_is_refused_before_it_is_decoded(
    count: int, rows: int, columns: int
) -> None:
    first = tiny_slices()[0]
    first.Rows, first.Columns = rows, columns  # the pixels are not there, and nobody looks
    with pytest.raises(SeriesRefused) as refusal:
        read_ct_series([to_bytes(first)], limit=MemoryLimit(6144, count))
    sentence = str(refusal.value)
    assert f"{count} images of {rows} x {columns} pixels" in sentence
    assert "MaximumMemoryMib allows 6144" in sentence
