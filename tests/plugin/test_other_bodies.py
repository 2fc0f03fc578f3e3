"""The real network on what is not an ordinary abdomen: it must find nothing, or the liver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from liver_unet.liver import NoLiver
from liver_unet.nifti import read_nifti
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Grid, Volume
from liver_unet.weights import default_weights
from orthanc_liver.engine.protocol import JobSettings
from orthanc_liver.liver_errors import SeriesRefused
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.phantom import Phantom, abdomen, head
from tests.support.real_data import real_ct


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(default_weights(), "cpu")


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return abdomen((44, 130, 170), (6.5, 2.5, 2.3))


def outcome_of(segmenter: Segmenter, volume: Volume) -> Segmentation:
    instances: Iterator[bytes] = (to_bytes(one) for one in write_ct_series(volume))
    return segment_series(
        instances,
        segmenter,
        JobSettings(minimum_slices=10),
        created=datetime(2026, 1, 1, tzinfo=UTC),
        progress=lambda stage, fraction: None,
    )


def without_liver(phantom: Phantom) -> Volume:
    """The same patient with fat in the liver's place."""
    hu = phantom.volume.hu.copy()
    noise = np.random.default_rng(5).normal(-98, 12, hu.shape)
    hu[phantom.liver] = noise[phantom.liver].astype(np.int16)
    return Volume(hu, phantom.volume.grid)


def with_metal(phantom: Phantom) -> Volume:
    """The same patient with two screws in the spine, and the streaks that they cause."""
    hu = phantom.volume.hu.astype(np.float32)
    slices, rows, columns = hu.shape
    row, column = np.indices((rows, columns))
    for screw in ((int(rows * 0.66), int(columns * 0.46)), (int(rows * 0.66), int(columns * 0.56))):
        down, along = row - screw[0], column - screw[1]
        away = np.hypot(down, along) + 1.0
        streaks = 500 * np.cos(8 * np.arctan2(down, along)) / np.sqrt(away)
        hu[slices // 3 : slices // 2] += streaks
        hu[slices // 3 : slices // 2, away < 4] = 3071
    return Volume(np.clip(hu, -1024, 3071).astype(np.int16), phantom.volume.grid)


def air(shape: tuple[int, int, int] = (25, 60, 70)) -> Volume:
    affine = np.diag([5.0, 4.0, 4.5, 1.0])[[2, 1, 0, 3]]
    return Volume(np.full(shape, -1000, dtype=np.int16), Grid(shape, affine))


def test_all_air(segmenter: Segmenter) -> None:
    with pytest.raises(SeriesRefused, match="The values cannot be HU"):
        outcome_of(segmenter, air())


def test_a_head(segmenter: Segmenter) -> None:
    assert outcome_of(segmenter, head()).outcome == "no liver found"


def test_a_patient_without_a_liver(segmenter: Segmenter, patient: Phantom) -> None:
    found = outcome_of(segmenter, without_liver(patient))
    assert found.outcome == "no liver found", found.report


def test_metal(segmenter: Segmenter, patient: Phantom) -> None:
    found = outcome_of(segmenter, with_metal(patient))
    assert found.liver is not None
    mask = found.liver.mask_on_ct()
    dsc = 2 * (mask & patient.liver).sum() / (mask.sum() + patient.liver.sum())
    assert dsc > 0.6  # a check that it is the liver; accuracy is for patients


@pytest.mark.parametrize("name", ["btcv_0007", pytest.param("btcv_0034", marks=pytest.mark.long)])
def test_a_pelvis(segmenter: Segmenter, name: str) -> None:
    """The part of a real patient that begins 3 cm below the liver."""
    folder = real_ct("train", name)
    hu, grid = read_nifti(folder / "ct.nii.gz")
    liver, _ = read_nifti(folder / "liver.nii.gz")
    volume = below_the_liver(Volume(hu, grid), liver > 0)
    assert isinstance(segmenter.segment(volume, Stages()), NoLiver)


def below_the_liver(volume: Volume, liver: NDArray[np.bool_]) -> Volume:
    slice_mm = float(volume.grid.spacing_mm[0])
    last = int(np.flatnonzero(liver.any(axis=(1, 2)))[0] - round(30 / slice_mm))
    assert last * slice_mm > 80
    _, rows, columns = volume.hu.shape
    box = (slice(0, last), slice(0, rows), slice(0, columns))
    return Volume(volume.hu[box].copy(), volume.grid.cropped(box))
