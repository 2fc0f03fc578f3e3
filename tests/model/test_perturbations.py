"""Perturbed patients: what changes, where, and what does not, however the scan is oriented."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from liver_unet import perturbations
from liver_unet.perturbations import PERTURBATIONS, Patient, perturbed
from tests.support.phantom import Orientation, abdomen, oriented

ORIENTATIONS: tuple[Orientation, ...] = ("HFS", "FFP", "reversed")
HU_ONLY = sorted(set(PERTURBATIONS) - {"merged slices", "field of view cut", "larger"})


@pytest.fixture(scope="module", params=ORIENTATIONS)
def patient(request: pytest.FixtureRequest) -> Patient:
    phantom = oriented(abdomen((30, 92, 108), (10.0, 3.4, 3.2)), request.param)
    return Patient(phantom.volume, phantom.liver)


def height_mm(patient: Patient) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, patient.ct.grid.shape), indexing="ij"), axis=-1)
    return np.asarray(patient.ct.grid.to_mm(index.astype(float))[..., 2])


def changed_hu(before: Patient, after: Patient) -> NDArray[np.float64]:
    return np.asarray(after.ct.hu.astype(float) - before.ct.hu)


@pytest.mark.parametrize("name", HU_ONLY)
def test_hu_change_and_the_truth_does_not(patient: Patient, name: str) -> None:
    after = perturbed(patient, name)
    assert np.array_equal(after.liver, patient.liver)
    assert after.ct.grid is patient.ct.grid
    assert after.ct.hu.min() >= patient.ct.hu.min()
    assert np.any(changed_hu(patient, after))
    assert np.array_equal(after.ct.hu, perturbed(patient, name).ct.hu), "each draw has its seed"


def test_fluid_lies_above_the_liver_within_35_mm_where_lung_was(patient: Patient) -> None:
    after = perturbed(patient, "effusion")
    filled = changed_hu(patient, after) > 500
    assert np.median(after.ct.hu[filled]) == pytest.approx(15, abs=1)
    assert filled.sum() * patient.ct.grid.voxel_ml > 100
    assert height_mm(patient)[filled].min() > np.median(height_mm(patient)[patient.liver]) - 36
    assert not (filled & patient.liver).any()


def test_noise_has_80_hu(patient: Patient) -> None:
    inside = changed_hu(patient, perturbed(patient, "noise"))[patient.liver]
    assert inside.std() == pytest.approx(80, rel=0.05)
    assert inside.mean() == pytest.approx(0, abs=3)


@pytest.mark.parametrize(("name", "hu"), [("dark liver", -60), ("necrosis", -90)])
def test_the_inside_of_the_liver_darkens(patient: Patient, name: str, hu: float) -> None:
    change = changed_hu(patient, perturbed(patient, name))
    assert change[patient.liver].min() == pytest.approx(hu, abs=1)
    assert change[~patient.liver].min() > hu / 2 - 1, "beyond its edge a blurred half at the most"


@pytest.mark.parametrize("name", ["mass beside", "necrotic mass behind"])
def test_a_mass_touches_the_liver_and_spares_it(patient: Patient, name: str) -> None:
    change = np.abs(changed_hu(patient, perturbed(patient, name))) > 25
    assert not change[patient.liver].mean() > 0.02
    step = patient.ct.grid.spacing_mm.max()
    away_mm = perturbations._distance_mm(patient.liver, patient.ct.grid)
    assert away_mm[change & ~patient.liver].min() <= step


def test_three_slices_become_one_in_the_same_place(patient: Patient) -> None:
    after = perturbed(patient, "merged slices")
    before_mm = patient.ct.grid.to_mm(np.argwhere(patient.liver).astype(float)).mean(axis=0)
    after_mm = after.ct.grid.to_mm(np.argwhere(after.liver).astype(float)).mean(axis=0)
    assert np.abs(before_mm - after_mm).max() < 3
    volumes = [one.liver.sum() * one.ct.grid.voxel_ml for one in (patient, after)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)


def test_the_scan_ends_within_the_lower_liver(patient: Patient) -> None:
    after = perturbed(patient, "field of view cut")
    gone_mm = height_mm(after).min() - height_mm(patient)[patient.liver].min()
    extent_mm = np.ptp(height_mm(patient)[patient.liver])
    assert 0.1 * extent_mm < gone_mm < 0.3 * extent_mm
    assert height_mm(after).max() == pytest.approx(height_mm(patient).max())


def test_a_larger_patient_has_a_larger_liver(patient: Patient) -> None:
    after = perturbed(patient, "larger")
    ratio = after.ct.grid.voxel_ml / patient.ct.grid.voxel_ml
    assert ratio == pytest.approx(1.4**3)
