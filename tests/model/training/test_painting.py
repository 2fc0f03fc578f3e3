"""Each thing that is painted: it changes what it says and where, and the truth stays true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from liver_unet.liver import LIVER
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.contrast import change_contrast
from liver_unet.training.fluid import add_ascites, fill_chest, fill_stomach
from liver_unet.training.geometry import Patch
from liver_unet.training.lesions import add_lesions, add_mass
from liver_unet.training.patches import paint
from liver_unet.training.scanner import scan
from liver_unet.training.tissues import AORTA, LUNG, OUTSIDE, REST, STOMACH
from tests.model.training.plain_patch import FAT_HU, HU, NOTHING, chance, only, plain_patch

Painter = Callable[[Patch, Augmentation, Chance], None]
SEEDS = range(8)


def painted(painter: Painter, seed: int = 1, **numbers: object) -> tuple[Patch, torch.Tensor]:
    """The patch after one painter that paints for certain, and by how much its HU changed."""
    before, patch = plain_patch(), plain_patch()
    painter(patch, only(**numbers), chance(seed))
    assert torch.equal(patch.liver, before.liver)
    assert torch.equal(patch.tissue, before.tissue)
    return patch, patch.hu - before.hu


def deep(tissue: int) -> torch.Tensor:
    """Where a tissue is that has no other beside it."""
    other = (plain_patch().tissue != tissue).float()[None, None]
    return functional.max_pool3d(other, 3, 1, 1)[0, 0] == 0


def test_nothing_is_painted_by_no_chance() -> None:
    for seed in SEEDS:
        patch = plain_patch()
        paint(patch, NOTHING, chance(seed))
        scan(patch, NOTHING, chance(seed))
        torch.testing.assert_close(patch.hu, plain_patch().hu)


def test_fat_makes_the_liver_darker_and_nothing_else() -> None:
    _, change = painted(
        change_contrast,
        as_scanned=0.0,
        organ_hu=0.0,
        all_organs_hu=0.0,
        fat=1.0,
        fat_darker_hu=(75, 75),
    )
    torch.testing.assert_close(change[deep(LIVER)], torch.full_like(change[deep(LIVER)], -75.0))
    assert not change[deep(REST) | deep(STOMACH) | deep(LUNG)].any()


def test_a_phase_moves_each_organ_to_its_own_brightness() -> None:
    seen = set()
    for seed in SEEDS:
        patch, _ = painted(
            change_contrast,
            seed,
            as_scanned=0.0,
            phase=1.0,
            phase_share=(1.0, 1.0),
            organ_hu=0.0,
            all_organs_hu=0.0,
        )
        means = [float(patch.hu[deep(n)].mean()) for n in (LIVER, STOMACH)]
        seen.add(tuple(round(m) for m in means))
    # The stomach's shift ends at -120 HU.
    assert seen <= {(55, 80), (72, 80), (110, 80), (85, 80)}
    assert len(seen) > 1


def test_contrast_agent_is_taken_from_what_is_bright_alone() -> None:
    patch, change = painted(
        change_contrast, contrast_lost=1.0, unenhanced_hu=(50, 50), contrast_kept_share=(0.1, 0.1)
    )
    stays = plain_patch().hu <= 50
    assert not change[stays].any()
    for number in (LIVER, AORTA, STOMACH):
        assert np.unique(patch.hu[patch.tissue == number]).tolist() == pytest.approx(
            [50 + 0.1 * (HU[number] - 50)]
        )


def test_a_livers_texture_stands_out_more_or_less() -> None:
    patch = plain_patch()
    patch.hu[8, 9, 9] = 200.0
    mean = float(patch.hu[patch.liver].mean())
    change_contrast(patch, only(liver_texture_ratio=(0.5, 0.5)), chance())
    assert float(patch.hu[8, 9, 9]) == pytest.approx((200 + mean) / 2)
    assert float(patch.hu[deep(REST)].std()) == float(plain_patch().hu[deep(REST)].std())


def test_lesions_lie_in_the_liver_and_stay_liver() -> None:
    volumes = []
    for seed in SEEDS:
        _, change = painted(
            add_lesions,
            seed,
            lesions=1.0,
            lesion_count=(1, 1.5),
            lesion_radius_mm=(20, 20),
            lesion_hu=(-95, -95),
        )
        assert not change[~plain_patch().liver].any()
        assert float(change.min()) < -80
        volumes.append(int((change < -47).sum()) * 0.216)
    # A ball of 20 mm radius has 34 mL; where the liver ends, so does the lesion.
    assert max(volumes) > 20


def test_a_lesion_may_have_a_bright_rim() -> None:
    _, change = painted(
        add_lesions,
        lesions=1.0,
        lesion_radius_mm=(25, 25),
        lesion_rim=1.0,
        lesion_rim_hu=(60, 60),
        blob_edge_share=(0.12, 0.12),
    )
    assert float(change.max()) > 5
    assert float(change.min()) < -5


def test_a_mass_lies_against_the_liver_and_is_none() -> None:
    for seed in SEEDS:
        patch, change = painted(
            add_mass, seed, mass=1.0, mass_radius_mm=(25, 25), mass_hu=(10, 10), mass_texture_hu=0.0
        )
        is_mass = change.abs() > 5
        assert not is_mass[plain_patch().liver].any()
        assert not is_mass[patch.tissue == OUTSIDE].any()
        assert is_mass.any()
        beside = functional.max_pool3d(is_mass.float()[None, None], 7, 1, 3)[0, 0] > 0
        assert (beside & patch.liver).any()


def test_a_mass_may_be_as_bright_as_the_liver() -> None:
    assert 0.3 <= Augmentation().mass_like_liver <= 0.4
    for seed in SEEDS:
        patch, change = painted(
            add_mass, seed, mass=1.0, mass_like_liver=1.0, mass_texture_hu=0.0, mass_rim=0.0
        )
        inside = patch.hu[change.abs() > 100]  # in place of lung or fat
        if len(inside) > 4:
            assert HU[LIVER] - 50 < float(inside.median()) <= HU[LIVER] + 1


def test_effusion_fills_lung_and_nothing_else() -> None:
    patch, change = painted(fill_chest, effusion=1.0, effusion_hu=(15, 15))
    assert float(patch.hu[deep(LUNG)].mean()) == pytest.approx(15, abs=3)
    assert not change[plain_patch().liver].any()
    air = deep(OUTSIDE)
    assert air.any()
    assert not change[air].any()
    far = functional.max_pool3d((patch.tissue == LUNG).float()[None, None], 3, 1, 1)[0, 0] == 0
    assert not change[far].any()


def test_effusion_may_lie_near_the_liver_or_at_the_back() -> None:
    _, near = painted(fill_chest, effusion=1.0, effusion_near_liver=1.0, effusion_reach_mm=(10, 10))
    filled = near.abs() > 30
    assert filled[14].any()
    assert not filled[17].any()
    _, back = painted(fill_chest, effusion=1.0, effusion_at_back=1.0, effusion_level_share=(0, 0))
    filled = back.abs() > 60
    assert filled[:, 14:].any()
    assert not filled[:, :8].any()


def test_lung_collapses_within_effusion() -> None:
    lungs = []
    for seed in SEEDS:
        patch, _ = painted(
            fill_chest, seed, effusion=1.0, effusion_hu=(0, 0), collapsed=1.0, collapsed_hu=(90, 90)
        )
        lungs.append(patch.hu[deep(LUNG)])
    inside = torch.cat(lungs)
    assert (inside > 60).any()
    assert (inside < 30).any()


def test_lung_is_not_outside_air() -> None:
    patch, change = painted(fill_chest, aerated=1.0, aerated_hu=(-800, -800))
    assert float(patch.hu[patch.tissue == LUNG].mean()) == pytest.approx(-800, abs=15)
    assert not change[patch.tissue != LUNG].any()


def test_ascites_takes_the_place_of_fat_near_the_liver() -> None:
    patch, change = painted(add_ascites, ascites=1.0, ascites_reach_mm=(24, 24))
    fat = plain_patch().hu == FAT_HU
    touching = fat & (functional.max_pool3d(patch.liver.float()[None, None], 3, 1, 1)[0, 0] > 0)
    assert float(patch.hu[touching].mean()) > FAT_HU + 40
    assert not change[patch.liver | deep(LUNG)].any()
    assert not change[deep(REST) & ~_around(fat)].any()


def test_ascites_leaves_far_fat_alone() -> None:
    patch = plain_patch()
    patch.hu[0, 20:, 18:25] = FAT_HU
    add_ascites(patch, only(ascites=1.0, ascites_reach_mm=(8, 8)), chance())
    assert bool((patch.hu[0, 21:, 19:24] == FAT_HU).all())


def _around(mask: torch.Tensor) -> torch.Tensor:
    return functional.max_pool3d(mask.float()[None, None], 3, 1, 1)[0, 0] > 0


def test_the_stomach_is_full_of_water() -> None:
    patch, change = painted(fill_stomach, full_stomach=1.0, full_stomach_hu=(20, 20))
    assert float(patch.hu[deep(STOMACH)].mean()) == pytest.approx(20, abs=3)
    assert not change[~_around(patch.tissue == STOMACH)].any()


@pytest.mark.parametrize(
    ("spacing_mm", "grainy", "sigma_hu"), [(1.5, 0.0, 80), (1.5, 1.0, 66), (3.0, 0.0, 40)]
)
def test_noise(spacing_mm: float, grainy: float, sigma_hu: float) -> None:
    """Larger voxels average it; grain is correlated within a slice."""
    patch = plain_patch()
    patch.spacing_mm = spacing_mm
    scan(
        patch,
        only(noise=1.0, loud_noise=1.0, loud_noise_hu=(80, 80), grainy_noise=grainy),
        chance(),
    )
    noise = patch.hu - plain_patch().hu
    assert float(noise.std()) == pytest.approx(sigma_hu, rel=0.06)
    beside = np.corrcoef(noise[:, :, 1:].flatten(), noise[:, :, :-1].flatten())[0, 1]
    assert beside == pytest.approx(0.66 if grainy else 0, abs=0.05)


def test_thick_slices() -> None:
    patch = plain_patch()
    scan(patch, only(thick_slices=1.0, thick_slices_mm=(12, 12)), chance())
    column = patch.hu[:, 10, 9]
    assert float(column.std()) < float(plain_patch().hu[:, 10, 9].std())
    assert len(np.unique(column)) > len(np.unique(plain_patch().hu[:, 10, 9]))
    thin = plain_patch()
    scan(thin, only(thick_slices=1.0, thick_slices_mm=(3, 3)), chance())
    torch.testing.assert_close(thin.hu, plain_patch().hu)


def scanned(**numbers: object) -> torch.Tensor:
    patch = plain_patch()
    scan(patch, only(**numbers), chance(3))
    return patch.hu - plain_patch().hu


def test_blur_softens_edges_and_leaves_the_inside() -> None:
    change = scanned(blur=1.0)
    torch.testing.assert_close(change[deep(LUNG)], torch.zeros_like(change[deep(LUNG)]))
    assert float(change.abs().max()) > 20


def test_streaks_are_other_ones_in_every_slice() -> None:
    change = scanned(streaks=1.0)
    assert all(float(one.std()) > 3 for one in change)
    assert abs(float(np.corrcoef(change[3].flatten(), change[4].flatten())[0, 1])) < 0.3


def test_rays_fade_with_the_distance_and_go_through_slices() -> None:
    for seed in SEEDS:
        strengths = []
        for fade_mm in (30.0, 3000.0):
            patch = plain_patch()
            scan(patch, only(rays=1.0, rays_fade_mm=(fade_mm, fade_mm)), chance(seed))
            change = patch.hu - plain_patch().hu
            assert np.corrcoef(change[3].flatten(), change[4].flatten())[0, 1] > 0.5
            strengths.append(float(change.abs().mean()))
        assert 0 < strengths[0] < 0.5 * strengths[1]


def test_bands_of_arms_go_from_left_to_right() -> None:
    change = scanned(arms=1.0)
    torch.testing.assert_close(change, change[:, :, :1].expand_as(change), rtol=0, atol=1e-4)
    assert float(change[:, :, 0].std()) > 4


def test_air_ends_elsewhere() -> None:
    change = scanned(darker_air=1.0, darker_air_hu=(60, 60))
    air = plain_patch().hu <= -115
    assert np.unique(change[air]).tolist() == [-60]
    assert not change[~air].any()


def test_calibration() -> None:
    patch = plain_patch()
    scan(patch, only(gain_ratio=(1.1, 1.1)), chance())
    torch.testing.assert_close(patch.hu, plain_patch().hu * 1.1)
