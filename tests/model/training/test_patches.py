"""Where a patch lies, what is known of it, and that a scan's end is drawn last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liver_unet.liver import LIVER
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.cases import read_case
from liver_unet.training.geometry import draw_patch
from liver_unet.training.held import HeldCase, held_case
from liver_unet.training.patches import PaintedPatches
from liver_unet.training.scanner import scan, to_network_input
from liver_unet.training.tissues import LUNG, OUTSIDE, SPLEEN
from liver_unet.volume import Volume
from tests.model.training.phantom_cases import small_config, write_case_folder
from tests.model.training.plain_patch import CPU, NOTHING, chance, only, plain_patch
from tests.support.phantom import small_abdomen

SHAPE = (12, 20, 28)
SPACING_MM = 10.0
WINDOW = (-200.0, 250.0)
CONFIG = small_config("fine")
SEEDS = st.integers(0, 10_000)
few_examples = settings(max_examples=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases") / "p"
    write_case_folder(folder, organs=True)
    return folder


@pytest.fixture(scope="module")
def patches(folder: Path) -> PaintedPatches:
    return PaintedPatches([write_case_folder(folder, organs=True)], CONFIG, CPU)


@pytest.fixture(scope="module")
def hu_is_label(folder: Path) -> HeldCase:
    """A patient whose liver has 100 HU and who has 0 HU elsewhere."""
    case = read_case(write_case_folder(folder, organs=True))
    hu = 100 * case.liver.astype(np.float32)
    return held_case(replace(case, ct=Volume(hu, case.ct.grid)), SPACING_MM, 2000.0, CPU)


@few_examples
@given(seed=SEEDS)
def test_image_and_label_move_together(hu_is_label: HeldCase, seed: int) -> None:
    patch = draw_patch(hu_is_label, SHAPE, SPACING_MM, Augmentation(), chance(seed))
    assert patch.hu.shape == patch.liver.shape == patch.tissue.shape == SHAPE
    assert torch.equal((patch.hu > 50) & ~patch.outside, patch.liver)
    assert torch.equal(patch.tissue == LIVER, patch.liver)
    assert torch.equal(patch.tissue == OUTSIDE, patch.outside | (patch.tissue == OUTSIDE))


def test_patches_are_turned_scaled_and_bent(hu_is_label: HeldCase) -> None:
    """The law above would hold for a patch that never changes, too."""
    volumes_ml = [
        float(
            draw_patch(
                hu_is_label, (40, 40, 40), SPACING_MM, Augmentation(), chance(seed)
            ).liver.sum()
        )
        for seed in range(30)
    ]
    assert max(volumes_ml) > 1.3 * np.median(volumes_ml) > 1.69 * min(volumes_ml)


@few_examples
@given(seed=SEEDS)
def test_the_same_index_is_the_same_patch(patches: PaintedPatches, seed: int) -> None:
    sample, again = patches[seed], patches[seed]
    assert torch.equal(sample.image, again.image)
    assert torch.equal(sample.classes, again.classes)
    assert sample.image.shape == sample.classes.shape == sample.known.shape == CONFIG.patch
    assert not torch.equal(sample.image, patches[seed + 1].image)
    assert 0 <= float(sample.image.min()) <= float(sample.image.max()) <= 1


def test_organs_are_classes_and_lung_is_rest(patches: PaintedPatches) -> None:
    seen = {int(n) for i in range(20) for n in np.unique(patches[i].classes)}
    assert seen == {0, LIVER, SPLEEN}


def test_tissue_of_a_held_case(folder: Path) -> None:
    case = read_case(write_case_folder(folder, organs=True))
    held = held_case(case, 1.0, 2000.0, CPU)
    tissue = held.tissue.numpy()
    phantom = small_abdomen()
    assert ((tissue == LIVER) == phantom.liver).all()
    assert float((phantom.volume.hu[tissue == LUNG] < -500).mean()) > 0.9
    assert tissue[0, 0, 0] == tissue[-1, -1, -1] == OUTSIDE
    assert held.outlined == {LIVER, SPLEEN, 4, 5}
    assert not held.cut.any()


def test_a_scan_is_held_as_far_as_the_reach(folder: Path) -> None:
    case = read_case(write_case_folder(folder, organs=True))
    near, far = (held_case(case, 1.0, reach_mm, CPU) for reach_mm in (25.0, 2000.0))
    slices = np.flatnonzero(case.liver.any(axis=(1, 2)))
    assert near.grid.shape[0] == slices[-1] - slices[0] + 1 + 4  # 12.5 mm each
    assert far.grid.shape == case.ct.grid.shape
    near_mm, far_mm = (one.liver_points_mm.mean(axis=0) for one in (near, far))
    np.testing.assert_allclose(near_mm, far_mm, atol=2)


def test_nothing_is_known_beyond_a_cut_liver(folder: Path) -> None:
    """A stack that ends within the liver at both ends, in whatever order it is stored."""
    case = read_case(write_case_folder(folder, organs=True))
    inside = np.flatnonzero(case.liver.any(axis=(1, 2)))
    part = slice(int(inside[3]), int(inside[-3]))
    z, y, x = part, slice(0, case.liver.shape[1]), slice(0, case.liver.shape[2])
    ct = Volume(case.ct.hu[part], case.ct.grid.cropped((z, y, x)))
    cut = held_case(
        replace(case, ct=ct, liver=case.liver[part], organs=case.organs[part]), 1.0, 2000.0, CPU
    )
    assert cut.cut.tolist() == [[False, False, True], [False, False, True]]
    still = replace(NOTHING, bend_mm=(-1, 0), near_liver=1.0, turn_deg=(0, 0, 0))
    patch = draw_patch(cut, (60, 20, 20), 10.0, still, chance())
    beyond = patch.outside.all(dim=2).all(dim=1)
    assert 20 < int(beyond.sum()) < 60
    assert not patch.known[beyond].any()
    assert patch.known[~beyond].all()


def test_a_drawn_end_of_the_scan_is_known_to_hold_no_liver(hu_is_label: HeldCase) -> None:
    numbers = only(scan_end=1.0, scan_end_share=(0.3, 0.3), near_liver=1.0)
    ends = set()
    for seed in range(6):
        patch = draw_patch(hu_is_label, SHAPE, SPACING_MM, numbers, chance(seed))
        first, last = bool(patch.outside[:3].all()), bool(patch.outside[-3:].all())
        ends.add((first, last))
        assert patch.known.all()
        assert not patch.liver[patch.outside].any()
    assert (True, False) in ends or (True, True) in ends
    assert (False, True) in ends or (True, True) in ends


def test_a_scans_end_is_drawn_after_the_scanner() -> None:
    """No thick slice, blur or noise mixes what was not scanned with its neighbours."""
    patch = plain_patch()
    patch.hu[:] = 40.0
    patch.outside[:7] = True
    patch.hu[:7] = 40.0  # as sampled beyond a border
    numbers = only(thick_slices=1.0, thick_slices_mm=(18, 18), blur=1.0)
    scan(patch, numbers, chance())
    image = to_network_input(patch, WINDOW, numbers, chance())
    assert not image[:7].any()
    torch.testing.assert_close(image[7:], torch.full_like(image[7:], 240 / 450))


@few_examples
@given(seed=SEEDS)
@example(seed=322)
def test_the_lower_bound_varies_and_the_top_does_not(seed: int) -> None:
    patch = plain_patch()
    line = torch.tensor([-3000.0, -1024.0, -110.0, 0.0, 100.0, 250.0, 900.0])
    patch.hu[0, 0, :7] = line
    image = to_network_input(patch, WINDOW, Augmentation(), chance(seed))[0, 0, :7]
    expected = (torch.tensor([-110.0, 0.0, 100.0, 250.0, 250.0]) + 200) / 450
    torch.testing.assert_close(image[2:], expected)
    assert 0 <= float(image[0]) <= float(expected[0])


def test_air_has_no_fixed_value() -> None:
    seen = set()
    for seed in range(40):
        patch = plain_patch()
        patch.hu[:] = -1024
        image = to_network_input(patch, WINDOW, Augmentation(), chance(seed))
        seen.add(round(float(image[0, 0, 0]), 3))
    assert 0.0 in seen
    assert len(seen) > 10
