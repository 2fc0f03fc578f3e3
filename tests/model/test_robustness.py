"""What a scanner does to the same patient changes little; real patients, none learnt from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from liver_unet.liver import Liver, NoLiver
from liver_unet.metrics import Agreement, agreement
from liver_unet.nifti import read_nifti
from liver_unet.resample import resample
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import AIR_HU, Grid, Volume
from tests.support.real_data import DEVELOPMENT_WEIGHTS, real_ct

pytestmark = pytest.mark.long

Mask = NDArray[np.bool_]
Record = Callable[[str, object], None]
Axes = tuple[int, int, int]

# Of the patients not learnt from, the one with thin slices and one without abnormality.
THIN, PLAIN = "ircad_01", "btcv_0034"
SLICE, ROW, COLUMN = 0, 1, 2


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(DEVELOPMENT_WEIGHTS, "cpu")


def patient(name: str) -> tuple[Volume, Mask]:
    hu, grid = read_nifti(real_ct("train", name) / "ct.nii.gz")
    truth, _ = read_nifti(real_ct("train", name) / "liver.nii.gz")
    return Volume(hu, grid), truth > 0


def segmented(segmenter: Segmenter, volume: Volume) -> Liver | NoLiver:
    return segmenter.segment(volume, Stages())


def measured(segmenter: Segmenter, volume: Volume, truth: Mask) -> Agreement:
    liver = segmented(segmenter, volume)
    assert isinstance(liver, Liver)
    return agreement(liver.mask_on_ct(), truth, volume.grid)


def stored_as(volume: Volume, axes: Axes, backwards: tuple[int, ...]) -> Volume:
    """The same voxels at the same places in another order."""
    affine = volume.grid.affine[:, [*axes, 3]].copy()
    shape = tuple(volume.hu.shape[axis] for axis in axes)
    hu = np.asarray(volume.hu, dtype=np.float32).transpose(axes)
    for axis in backwards:
        affine[:, 3] += (shape[axis] - 1) * affine[:, axis]
        affine[:, axis] *= -1
        hu = np.flip(hu, axis)
    return Volume(np.ascontiguousarray(hu), Grid((shape[0], shape[1], shape[2]), affine))


def in_that_order(truth: Mask, axes: Axes, backwards: tuple[int, ...]) -> Mask:
    return np.ascontiguousarray(np.flip(truth.transpose(axes), backwards))


@pytest.mark.parametrize(
    ("name", "axes", "backwards"),
    [
        ("feet first", (SLICE, ROW, COLUMN), (SLICE, COLUMN)),
        ("prone", (SLICE, ROW, COLUMN), (ROW, COLUMN)),
        ("coronal", (ROW, SLICE, COLUMN), (SLICE,)),
    ],
)
def test_the_order_of_storage_costs_nothing(
    segmenter: Segmenter,
    name: str,
    axes: Axes,
    backwards: tuple[int, ...],
    record_property: Record,
) -> None:
    volume, truth = patient(PLAIN)
    upright = measured(segmenter, volume, truth)
    turned = measured(
        segmenter,
        stored_as(volume, axes, backwards),
        in_that_order(truth, axes, backwards),
    )
    record_property(name, (upright, turned))
    assert abs(turned.dsc - upright.dsc) < 0.01


@pytest.mark.parametrize("slice_mm", [1.0, 3.2, 4.8])
def test_thin_and_thick_slices(
    segmenter: Segmenter, slice_mm: float, record_property: Record
) -> None:
    volume, truth = patient(THIN)
    as_scanned = measured(segmenter, volume, truth)
    other = measured(segmenter, *with_slices(volume, truth, slice_mm))
    record_property(f"{slice_mm} mm", (as_scanned, other))
    assert other.dsc > as_scanned.dsc - 0.015


def with_slices(volume: Volume, truth: Mask, slice_mm: float) -> tuple[Volume, Mask]:
    """The patient scanned in slices of another thickness: averaged, or interpolated."""
    factor = slice_mm / volume.grid.spacing_mm[SLICE]
    slices = round((volume.grid.shape[0] - 1) / factor)
    affine = volume.grid.affine.copy()
    affine[:3, 0] *= factor
    affine[:3, 3] += affine[:3, 0] * (factor - 1) / 2 / factor
    _, rows, columns = volume.grid.shape
    grid = Grid((slices, rows, columns), affine)
    hu = resample(torch.from_numpy(volume.hu), volume.grid, grid, fill=AIR_HU).numpy()
    mask = resample(torch.from_numpy(truth.astype(np.float32)), volume.grid, grid, fill=0.0)
    return Volume(hu, grid), mask.numpy() > 0.5


@pytest.mark.parametrize("end", ["top", "bottom"])
def test_a_cut_liver_is_outlined_as_far_as_it_is_seen(
    segmenter: Segmenter, end: str, record_property: Record
) -> None:
    volume, truth = patient(PLAIN)
    inside = np.flatnonzero(truth.any(axis=(1, 2)))
    third = len(inside) // 3
    first, last = (0, inside[-1] - third) if end == "top" else (inside[0] + third, len(truth))
    kept = slice(int(first), int(last))
    liver = segmented(segmenter, some_slices(volume, kept))
    assert isinstance(liver, Liver)
    found = agreement(liver.mask_on_ct(), truth[kept], liver.ct_grid)
    record_property(end, found)
    assert found.dsc > 0.94
    said = f"liver touches the {end} of the field of view: volume is a lower bound"
    assert said in liver.warnings


@pytest.mark.parametrize("name", ["btcv_0026", "btcv_0034", "ircad_19"])
def test_below_the_liver_no_liver_is_found(segmenter: Segmenter, name: str) -> None:
    volume, truth = patient(name)
    below = int(np.flatnonzero(truth.any(axis=(1, 2)))[0]) - 2
    assert isinstance(segmented(segmenter, some_slices(volume, slice(0, below))), NoLiver)


def some_slices(volume: Volume, kept: slice) -> Volume:
    _, rows, columns = volume.grid.shape
    grid = volume.grid.cropped((kept, slice(0, rows), slice(0, columns)))
    return Volume(volume.hu[kept], grid)
