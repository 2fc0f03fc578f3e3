"""The coarse network must not lose the liver where the fine one, looking by itself, finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from liver_unet.liver import Liver
from liver_unet.metrics import dice
from liver_unet.nifti import read_nifti
from liver_unet.perturbations import Patient
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Grid, Volume
from tests.support.real_data import DEVELOPMENT_WEIGHTS, real_ct

_LONG_MM = 2000.0


@pytest.fixture(scope="module")
def both() -> Segmenter:
    return Segmenter.load(DEVELOPMENT_WEIGHTS, "cpu")


def scaled(by: float) -> Callable[[Patient], Patient]:
    def change(patient: Patient) -> Patient:
        affine = patient.ct.grid.affine.copy()
        affine[:3, :3] *= by
        grid = Grid(patient.ct.grid.shape, affine)
        return replace(patient, ct=Volume(patient.ct.hu, grid))

    return change


def tip(patient: Patient) -> Patient:
    """The scan ends 55 mm above the liver's lowest slice."""
    grid = patient.ct.grid
    lowest = int(np.flatnonzero(patient.liver.any(axis=(1, 2)))[0])
    stop = lowest + round(55 / float(grid.spacing_mm[0]))
    box = (slice(0, stop), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    return Patient(Volume(patient.ct.hu[box], grid.cropped(box)), patient.liver[box])


def long(patient: Patient) -> Patient:
    """As long as 2,000 slices of 1 mm: the lowest slice goes on to the feet."""
    old = patient.ct.grid
    more = round(_LONG_MM / float(old.spacing_mm[0])) - old.shape[0]
    affine = old.affine.copy()
    affine[:3, 3] -= more * affine[:3, 0]
    below = np.repeat(patient.ct.hu[:1], more, axis=0)
    hu = np.concatenate([below, patient.ct.hu])
    grid = Grid((hu.shape[0], *old.shape[1:]), affine)
    return Patient(Volume(hu, grid), np.pad(patient.liver, ((more, 0), (0, 0), (0, 0))))


CHANGES: Mapping[str, Callable[[Patient], Patient]] = {
    "1.4 times larger": scaled(1.4),
    "1.4 times smaller": scaled(1 / 1.4),
    "only the tip": tip,
    "2 m long": long,
}


@pytest.mark.long
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["ircad_01", "btcv_0033", "radct_1720_eqp"])
def test_the_coarse_look_loses_no_liver(
    both: Segmenter, name: str, change: str, record_property: Callable[[str, object], None]
) -> None:
    folder = real_ct("train", name)
    hu, grid = read_nifti(folder / "ct.nii.gz")
    truth, _ = read_nifti(folder / "liver.nii.gz")
    patient = CHANGES[change](Patient(Volume(hu, grid), truth > 0))
    found = {}
    for words, by in (("with", both), ("without", Segmenter(both.fine))):
        liver = by.segment(patient.ct, Stages())
        found[words] = dice(liver.mask_on_ct(), patient.liver) if isinstance(liver, Liver) else 0.0
    record_property(f"{name}, {change}", found)
    assert found["with"] >= found["without"] - 0.01, found
