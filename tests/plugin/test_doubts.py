"""What is no CT in HU ends as refused, from DICOM and from NIfTI, before a network looks at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from liver_unet.nifti import write_nifti
from liver_unet.volume import Grid
from orthanc_liver.cli.exit_status import REFUSED
from orthanc_liver.cli.main import main
from orthanc_liver.dicom.ct_series import doubts_about, read_ct_series
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.phantom import small_abdomen

PATIENT = small_abdomen().volume


def doubts(change: Callable[[list[FileDataset]], None]) -> tuple[str, ...]:
    slices = write_ct_series(PATIENT, pixel_format="16-bit signed")
    change(slices)
    return doubts_about(read_ct_series([to_bytes(one) for one in slices[::-1]]))


def _blank(slices: list[FileDataset]) -> None:
    slices[11].PixelData = bytes(len(slices[11].PixelData))


def _all_padding(slices: list[FileDataset]) -> None:
    slices[11].PixelData = np.full((70, 92), -2000, dtype="<i2").tobytes()
    for one in slices:
        one.PixelPaddingValue = -2000


def _intercept_lost(slices: list[FileDataset]) -> None:
    for one in slices:
        one.RescaleIntercept = 0


def _clipped(slices: list[FileDataset]) -> None:
    for one in slices:
        stored = np.frombuffer(one.PixelData, "<i2")
        one.PixelData = np.clip(stored, 1024 - 200, 1024 + 300).tobytes()


def test_a_sound_series() -> None:
    assert doubts(lambda slices: None) == ()


@pytest.mark.parametrize("change", [_blank, _all_padding])
def test_a_slice_without_an_image_is_named(change: Callable[[list[FileDataset]], None]) -> None:
    uid = write_ct_series(PATIENT)[11].SOPInstanceUID
    with pytest.raises(SeriesRefused) as refusal:
        doubts(change)
    assert f"Slice 12 of 24 (instance {uid}) holds no image" in str(refusal.value)


def _copied(slices: list[FileDataset]) -> None:
    slices[11].PixelData = slices[10].PixelData


def _mirrored(slices: list[FileDataset]) -> None:
    stored = np.frombuffer(slices[11].PixelData, "<i2").reshape(70, 92)
    slices[11].PixelData = stored[:, ::-1].tobytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_copied, "Slice 12 of 24 (instance {uid}) holds the very pixels of the slice before"),
        (
            _mirrored,
            "Slices 11 and 12, 12 and 13 (instance {uid} is slice 12) lie mirrored or turned",
        ),
    ],
)
def test_a_slice_that_its_neighbours_contradict_is_named(
    change: Callable[[list[FileDataset]], None], what: str
) -> None:
    with pytest.raises(SeriesRefused) as refusal:
        doubts(change)
    assert what.format(uid=write_ct_series(PATIENT)[11].SOPInstanceUID) in str(refusal.value)


def test_an_intercept_that_was_lost() -> None:
    with pytest.raises(SeriesRefused, match="cannot be HU"):
        doubts(_intercept_lost)


@pytest.mark.parametrize("among", [[11], [20, 21, 22, 23]])
def test_slices_whose_rescale_was_lost_are_refused_by_number(among: list[int]) -> None:
    """One such slice of 35 of a real CT: 1497.3 mL of liver instead of 1699.9, without a word."""
    slices = write_ct_series(PATIENT)

    def change(slices: list[FileDataset]) -> None:
        for index in among:
            slices[index].RescaleIntercept = 0

    with pytest.raises(SeriesRefused) as refusal:
        doubts(change)
    assert f"from slice {among[0]} to slice {among[0] + 1} of 24" in str(refusal.value)
    assert str(slices[among[0]].SOPInstanceUID) in str(refusal.value)


def test_a_clipped_series_is_read_with_a_warning() -> None:
    (warning,) = doubts(_clipped)
    assert "The lowest value is -200 HU" in warning


@pytest.mark.parametrize(
    ("hu", "grid", "what"),
    [
        pytest.param(
            (np.clip(PATIENT.hu.astype(np.float64), -160, 240) + 160) * 0.6,
            PATIENT.grid,
            "cannot be HU",
            id="0 to 240",
        ),
        pytest.param(
            PATIENT.hu,
            Grid(PATIENT.grid.shape, np.eye(4)[[2, 1, 0, 3]]),
            "identity matrix",
            id="identity",
        ),
    ],
)
def test_a_nifti_file_is_refused_with_its_name(
    hu: NDArray[np.float64],
    grid: Grid,
    what: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "ct.nii.gz"
    write_nifti(path, hu.astype(np.int16), grid)
    assert (
        main(["segment", str(path), "--out", str(tmp_path / "out"), "--device", "cpu"]) == REFUSED
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]
    said = capsys.readouterr().err
    assert str(path) in said
    assert what in said
