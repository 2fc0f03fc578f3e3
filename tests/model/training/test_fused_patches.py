"""Properties of the default recipe's augmentation, whatever its random numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liver_unet.training.augmentation import (
    change_contrast,
    draw_patch,
    to_network_input,
)
from liver_unet.training.averaged import AveragedCase, averaged_case
from liver_unet.training.cases import read_case
from liver_unet.training.fused_patches import FusedPatches
from liver_unet.volume import Volume
from tests.model.training.phantom_cases import small_config, write_case_folder

SHAPE = (12, 20, 28)
SPACING_MM = 10.0
CONFIG = small_config("compact")
SEEDS = st.integers(0, 10_000)
few_examples = settings(max_examples=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases") / "p"
    write_case_folder(folder, organs=True)
    return folder


@pytest.fixture(scope="module")
def patches(folder: Path) -> FusedPatches:
    return FusedPatches([write_case_folder(folder, organs=True)], CONFIG)


@pytest.fixture(scope="module")
def hu_is_label(folder: Path) -> AveragedCase:
    """A patient whose liver has 100 HU and who has 0 HU elsewhere."""
    case = read_case(write_case_folder(folder, organs=True))
    hu = 100 * case.liver.astype(np.float32)
    return averaged_case(replace(case, ct=Volume(hu, case.ct.grid)), SPACING_MM)


@few_examples
@given(seed=SEEDS)
def test_image_and_label_move_together(hu_is_label: AveragedCase, seed: int) -> None:
    patch = draw_patch(hu_is_label, SHAPE, SPACING_MM, np.random.default_rng(seed))
    assert patch.hu.shape == patch.liver.shape == patch.organs.shape == SHAPE
    assert torch.equal(patch.hu > 50, patch.liver > 0)


def test_patches_are_turned_scaled_and_bent(hu_is_label: AveragedCase) -> None:
    """The law above would hold for a patch that never changes, too."""
    volumes_ml = [
        float(
            draw_patch(hu_is_label, (40, 40, 40), SPACING_MM, np.random.default_rng(s)).liver.sum()
        )
        for s in range(30)
    ]
    assert max(volumes_ml) > 1.3 * np.median(volumes_ml) > 1.69 * min(volumes_ml)


@few_examples
@given(seed=SEEDS)
def test_the_same_index_is_the_same_patch(patches: FusedPatches, seed: int) -> None:
    image, classes, known = patches[seed]
    again, classes_again, _ = patches[seed]
    assert torch.equal(image, again)
    assert torch.equal(classes, classes_again)
    assert image.shape == classes.shape == (1, *CONFIG.patch)
    assert known
    assert not torch.equal(image, patches[seed + 1][0])


def test_neighbours_are_a_class_of_their_own(patches: FusedPatches) -> None:
    seen = {int(number) for i in range(20) for number in np.unique(patches[i][1].numpy())}
    assert seen == {0, 1, 2}


@few_examples
@given(seed=SEEDS)
def test_the_lower_bound_varies_and_the_top_does_not(seed: int) -> None:
    hu = torch.tensor([-3000.0, -1024.0, -110.0, 0.0, 100.0, 250.0, 900.0])
    image = to_network_input(hu, (-200.0, 250.0), np.random.default_rng(seed))
    expected = (torch.tensor([-110.0, 0.0, 100.0, 250.0, 250.0]) + 200) / 450
    torch.testing.assert_close(image[2:], expected)
    assert 0 <= float(image[0]) <= float(expected[0])


def test_air_has_no_fixed_value() -> None:
    air = torch.full((1,), -1024.0)
    seen = {
        round(float(to_network_input(air, (-200.0, 250.0), np.random.default_rng(s))[0]), 3)
        for s in range(40)
    }
    assert 0.0 in seen
    assert len(seen) > 10


@few_examples
@given(seed=SEEDS)
@example(seed=322)
def test_contrast_changes_outlined_organs_only(hu_is_label: AveragedCase, seed: int) -> None:
    random = np.random.default_rng(seed)
    patch = draw_patch(hu_is_label, SHAPE, SPACING_MM, random)
    changed = change_contrast(patch, hu_is_label, random)
    far = (
        torch.nn.functional.max_pool3d(
            ((patch.organs > 0) | (patch.liver > 0)).float()[None, None], 3, 1, 1
        )[0, 0]
        == 0
    ) & (patch.hu < 30)  # interpolation spreads the liver's 100 HU, and what is bright may fade
    assert torch.equal(changed[far], patch.hu[far])
