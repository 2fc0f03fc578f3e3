"""The lungs' volume and mass on phantoms whose figures are known, and what must not be measured."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from liver_unet.ct_nifti import read_ct_nifti
from liver_unet.lungs import Lungs, NoLungs, measure_lungs, sampled_voxels
from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.ct_folder import read_ct
from tests.support.phantom import abdomen
from tests.support.real_data import real_ct

SPACING_MM = np.array([4.0, 2.4, 2.2])
SHAPE = (90, 110, 150)
Places = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@cache
def chest(cut_mm: float = 0.0, left: bool = True) -> Volume:
    """Two unlike lungs of -850 HU and noise, in fat, with vessels, trachea, stomach and air around.

    cut_mm: how far the scan's top lies below the volume's.
    """
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING_MM, 1
    affine[:3, 3] = -150, -120, -300
    grid = Grid(SHAPE, affine)
    z, y, x = places()
    hu = np.full(SHAPE, -1000.0)
    hu[:, (np.abs(x / 150) ** 3 + np.abs(y / 115) ** 3)[0] < 1] = 20
    lungs = right_lung(x, y, z) | (left_lung(x, y, z) if left else np.zeros(SHAPE, dtype=bool))
    hu[lungs] = -850
    for at, radius in ((-75.0, 3.5), (70.0, 3.0)):  # a vessel through each
        hu[lungs & (np.hypot(x - at, y - 8) < radius)] = 40
    hu[(np.hypot(x - 2, y + 20) < 8) & (z > -10)] = -1000  # trachea, to the scan's top
    hu[(np.hypot(z, y + 20) < 7) & (np.abs(x) < 40)] = -1000  # bronchi, into both lungs
    hu[((x - 60) / 55) ** 2 + ((y + 20) / 40) ** 2 + ((z + 150) / 22) ** 2 < 1] = -1000  # stomach
    smooth = gaussian_filter(hu, 0.6)  # edges of gas are as dark as lung
    noisy = smooth + np.random.default_rng(3).normal(0, 12, SHAPE)
    top = SHAPE[0] - int(cut_mm / SPACING_MM[0])
    kept = np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)[:top]
    kept.setflags(write=False)
    return Volume(kept, Grid((top, *SHAPE[1:]), grid.affine))


def places() -> Places:
    """z, y and x from the volume's middle in mm, each along its own axis."""
    z, y, x = (a * mm for a, mm in zip(np.ogrid[:90, :110, :150], SPACING_MM, strict=True))
    return z - 180, y - 132, x - 165


@cache
def measured() -> Lungs:
    """Of the whole chest."""
    found = measure_lungs(chest())
    assert isinstance(found, Lungs)
    return found


def right_lung(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.asarray(((x + 72) / 58) ** 2 + (y / 82) ** 2 + ((z - 10) / 118) ** 2 < 1)


def left_lung(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.asarray(((x - 74) / 50) ** 2 + (y / 78) ** 2 + ((z - 12) / 112) ** 2 < 1)


def test_volume_and_mass_with_their_vessels_without_trachea_and_stomach() -> None:
    # 4/3 pi (58 * 82 * 118 + 50 * 78 * 112) mm3 = 4180.4 mL
    right_ml = 4 / 3 * np.pi * (58 * 82 * 118 + 50 * 78 * 112) / 1000
    # vessels, of 1.04 g/mL: tubes of nearly 2 * 118 and 2 * 112 mm
    vessels_ml = np.pi * (3.5**2 * 234 + 3.0**2 * 222) / 1000
    found = measured()
    assert found.ml == pytest.approx(right_ml, rel=0.02)
    assert found.kg == pytest.approx((0.15 * right_ml + 0.89 * vessels_ml) / 1000, rel=0.03)


@pytest.mark.parametrize(
    ("spacing_mm", "sampled"),
    [
        ((1.27, 1.3, 1.49), 8 * 15 * 20),  # every second, where the next larger step was none
        ((1.5, 1.7, 2.6), 15 * 30 * 40),
        ((0.7, 0.8, 0.9), 5 * 10 * 20),
    ],
)
def test_voxels_that_are_measured_are_never_smaller_than_1_5_mm(
    spacing_mm: tuple[float, float, float], sampled: int
) -> None:
    grid = Grid((15, 30, 40), np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]])
    assert sampled_voxels(grid) == sampled


@pytest.mark.parametrize("axis", [0, 2])
def test_however_it_lies(axis: int) -> None:
    """Feet first, and mirrored."""
    straight, ct = measured(), chest()
    affine = ct.grid.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
    affine[:3, axis] *= -1
    turned = Volume(np.flip(ct.hu, axis), Grid(ct.grid.shape, affine))
    found = measure_lungs(turned)
    assert isinstance(found, Lungs)
    assert found.ml == pytest.approx(straight.ml, rel=0.005)
    assert found.kg == pytest.approx(straight.kg, rel=0.005)


@cache
def depth_in_air_mm() -> NDArray[np.float64]:
    return np.asarray(distance_transform_edt(chest().hu < -900, sampling=SPACING_MM))


@pytest.mark.parametrize(("slices", "deep"), [((15, 75), 26), ((0, 90), 26), ((12, 80), 9)])
def test_a_cushion_is_no_lung(slices: tuple[int, int], deep: int) -> None:
    """Under the back and beside the body; it came to as much again, at half the lungs' dose."""
    ct, alone = chest(), measured()
    air = np.zeros(SHAPE, dtype=bool)
    air[slice(*slices), 110 - deep : -2, 4:-4] = True
    air &= depth_in_air_mm() > 6
    with_cushion = ct.hu.copy()
    with_cushion[air] = np.random.default_rng(4).normal(-800, 12, int(air.sum()))
    assert float(air.sum()) * ct.grid.voxel_ml > 200
    found = measure_lungs(Volume(with_cushion, ct.grid))
    assert isinstance(found, Lungs)
    assert found.ml == pytest.approx(alone.ml, rel=0.01)
    assert found.kg == pytest.approx(alone.kg, rel=0.01)


def refusal(ct: Volume) -> str:
    found = measure_lungs(ct)
    assert isinstance(found, NoLungs), found
    return found.reason


def test_what_is_not_whole_is_not_measured() -> None:
    assert "cut by the scan's ends" in refusal(chest(cut_mm=72))
    assert "one of the two is not seen" in refusal(chest(left=False))
    assert "cut by the scan's ends" in refusal(abdomen((40, 110, 140), (7.5, 2.9, 2.8)).volume)
    clipped = chest()
    assert "nothing of the size" in refusal(replace(clipped, hu=clipped.hu.clip(-200, None)))
    affine = clipped.grid.affine[:, [1, 0, 2, 3]]
    coronal = Volume(clipped.hu.transpose(1, 0, 2), Grid((110, 90, 150), affine))
    assert "not axial" in refusal(coronal)


def test_effusion_is_told_apart() -> None:
    """A third of a lung drowned: neither its volume nor its kilogram is lung's."""
    dry, before = chest(), measured()
    z, y, x = places()
    drowned = right_lung(x, y, z) & (y > 27)
    after = measure_lungs(replace(dry, hu=np.where(drowned & (dry.hu < -500), 15, dry.hu)))
    assert isinstance(after, Lungs)
    lost_ml = float(drowned.sum()) * dry.grid.voxel_ml
    assert lost_ml > 400
    assert after.ml == pytest.approx(before.ml - lost_ml, rel=0.03)
    assert after.kg < before.kg


@pytest.mark.parametrize("name", ["cptac_c3l_00189", "cort_liver"])
def test_real_ct_that_cut_the_lungs_are_refused_as_such(name: str) -> None:
    """Real noise, couches and bowel gas. None that is at hand shows both lungs whole."""
    assert refusal(read_ct(real_ct("dicom", name)).volume) == "they are cut by the scan's ends"


@pytest.mark.parametrize("name", ["cptac_c3l_00189", "cort_liver"])
def test_the_lower_lungs_of_real_ct_have_the_density_of_lung(name: str) -> None:
    """Mirrored at the cut, for then they end within view: the abdomen at either end.

    Aerated adult lung has a mean between about -850 HU, breathed in, and -600 HU, breathed out.
    """
    cut = read_ct(real_ct("dicom", name)).volume
    hu = np.concatenate([cut.hu, cut.hu[::-1]])
    found = measure_lungs(Volume(hu, Grid((2 * len(cut.hu), *cut.grid.shape[1:]), cut.grid.affine)))
    assert isinstance(found, Lungs)
    assert 0.15 < 1000 * found.kg / found.ml < 0.40
    air_ml = np.count_nonzero((hu > -950) & (hu < -500)) * cut.grid.voxel_ml
    assert 1000 < found.ml < air_ml


def test_real_ct_without_the_density_of_lungs_are_not_measured() -> None:
    """What is clipped at -200 HU or above has lungs of no density."""
    ct, _ = read_ct_nifti(real_ct("train_coarse", "psma_010") / "ct.nii.gz")
    assert "nothing of the size and density" in refusal(ct)
