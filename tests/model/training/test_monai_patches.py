"""The published recipe's patches, made by MONAI's transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from liver_unet.liver import LIVER
from liver_unet.nifti import write_nifti
from liver_unet.training.monai_patches import MonaiPatches
from liver_unet.volume import Grid
from tests.model.training.phantom_cases import small_config, write_case_folder
from tests.model.training.plain_patch import CPU
from tests.support.phantom import small_abdomen

CONFIG = small_config("published", spacing_mm=8.0, patch=(16, 20, 28), channels=(4, 8, 16))


@pytest.fixture(scope="module")
def hu_is_label(tmp_path_factory: pytest.TempPathFactory) -> MonaiPatches:
    """A patient whose liver has the window's top and who has its middle or fat elsewhere."""
    files = write_case_folder(tmp_path_factory.mktemp("cases") / "p")
    phantom = small_abdomen()
    hu = np.where(phantom.volume.hu < -50, -100, 25).astype(np.int16)
    hu[phantom.liver] = 250
    write_nifti(files.ct, hu, phantom.volume.grid)
    return MonaiPatches([files], CONFIG, CPU)


def test_image_and_label_move_together(hu_is_label: MonaiPatches) -> None:
    """Image and label are turned by different interpolations: half a voxel apart at the edge."""
    seen = 0
    for index in range(20):
        sample = hu_is_label[index]
        image, label = sample.image, sample.classes
        assert image.shape == label.shape == CONFIG.patch
        assert sample.known.all()
        assert sample.outlined == {LIVER}
        bright, liver = image > float(image.min() + image.max()) / 2, label == 1
        if int(liver.sum()) < 300:
            continue
        seen += 1
        dsc = 2 * int((bright & liver).sum()) / int(bright.sum() + liver.sum())
        assert dsc > 0.93
    assert seen > 5


def test_the_same_index_is_the_same_patch(hu_is_label: MonaiPatches) -> None:
    others = [hu_is_label[index].image for index in range(6)]
    for index, image in enumerate(others):
        assert torch.equal(hu_is_label[index].image, image)
    assert len({float(image.double().sum()) for image in others}) == 6


def test_a_case_is_read_once(tmp_path: Path) -> None:
    files = write_case_folder(tmp_path / "p")
    patches = MonaiPatches([files], CONFIG, CPU)
    before = patches[3].image
    files.ct.unlink()
    files.liver.unlink()
    assert torch.equal(patches[3].image, before)


def test_half_of_the_patches_are_centred_on_liver(hu_is_label: MonaiPatches) -> None:
    with_liver = sum(bool(hu_is_label[index].classes.any()) for index in range(30))
    assert with_liver >= 15


def test_air_around_the_body_is_cropped(tmp_path: Path) -> None:
    """Every patch of a body in a wide field of view lies on the body's box."""
    files = write_case_folder(tmp_path / "p")
    phantom = small_abdomen()
    hu = np.full((60, 70, 92), -1024, dtype=np.int16)
    hu[20:44, ::2] = 40
    hu[20:44, 1::2] = -100
    hu[20:44] += np.arange(24, dtype=np.int16)[:, None, None] % 5  # no two slices are one
    mask = np.zeros(hu.shape, dtype=np.uint8)
    mask[20:44] = phantom.liver
    grid = Grid((60, 70, 92), phantom.volume.grid.affine)
    write_nifti(files.ct, hu, grid)
    write_nifti(files.liver, mask, grid)
    patches = MonaiPatches([files], CONFIG, CPU)
    assert all(float((patches[i].image > 0.2).float().mean()) > 0.9 for i in range(10))
