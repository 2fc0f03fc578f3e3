"""Three looks at one liver, by networks that look at each voxel by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from liver_unet.localise import CoarseLook
from liver_unet.looks import mean_of_looks
from liver_unet.model import Model
from liver_unet.volume import Box, Grid
from tests.support.liver_by_hu import SPEC, model_of

SHAPE = (70, 90, 110)
PATCH = (16, 20, 28)
BODY: Box = (slice(0, 70), slice(6, 82), slice(3, 107))
# Where the first look computed patches.
BOX: Box = (slice(8, 66), slice(10, 80), slice(4, 104))
LIVER_AT = (slice(20, 50), slice(24, 60), slice(20, 70))
Mask = NDArray[np.bool_]


class LiverByValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.patches.append(image)
        inside = (image - 0.5) * 40
        return torch.cat([-inside, inside], dim=1)


class Looks:
    """An image whose second look finds what is bright, and the other two as they are told."""

    def __init__(self, second: Mask, coarse: Mask, first: Mask) -> None:
        self.image = torch.from_numpy(np.where(second, 1.0, 0.25).astype(np.float32))
        self.grid = Grid(SHAPE, np.diag([1.5, 1.5, 1.5, 1.0])[[2, 1, 0, 3]])
        self.network = LiverByValue()
        self.fine: Model = model_of(self.network, replace(SPEC, patch=PATCH, spacing_mm=1.5))
        small = np.asarray(coarse[BODY][1::2, 1::2, 1::2])
        self.coarse = CoarseLook(BODY, torch.from_numpy(small.astype(np.float32)), small)
        self.first = (torch.from_numpy(first[BOX].astype(np.float32)), BOX, first)
        self.progress: list[float] = []

    def mean(self) -> tuple[NDArray[np.float32], Mask]:
        mean, liver = mean_of_looks(
            self.image, self.grid, self.fine, self.coarse, self.first, self.progress.append
        )
        return mean.numpy(), liver


def there(*boxes: Box) -> Mask:
    mask = np.zeros(SHAPE, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


LIVER = there(LIVER_AT)
NOWHERE = there()


def inner(mask: Mask) -> Any:
    """What is seen of it whatever the interpolation does at its rim."""
    z, y, x = np.nonzero(mask)
    return tuple(slice(a.min() + 3, a.max() - 2) for a in (z, y, x))


def test_where_all_agree_nothing_changes() -> None:
    looks = Looks(LIVER, LIVER, LIVER)
    mean, liver = looks.mean()
    assert mean.shape == looks.first[0].shape
    assert 2 * (liver & LIVER).sum() / (liver.sum() + LIVER.sum()) > 0.98
    assert looks.progress[-1] == 1


@pytest.mark.parametrize("misled", [0, 1, 2])
def test_two_looks_outvote_the_third(misled: int) -> None:
    """Whichever it is that overlooks the right half and sees something beside the liver."""
    left = there(
        (LIVER_AT[0], LIVER_AT[1], slice(20, 40)), (slice(22, 40), slice(30, 50), slice(70, 90))
    )
    seen = [LIVER, LIVER, LIVER]
    seen[misled] = left
    _, liver = Looks(*seen).mean()
    assert liver[inner(LIVER)].all()
    assert not liver[22:40, 30:50, 74:90].any()


def test_what_the_coarse_network_alone_saw_is_looked_at_again() -> None:
    sliver = there((LIVER_AT[0], LIVER_AT[1], slice(20, 24)))
    _, liver = Looks(LIVER, LIVER, sliver).mean()
    assert liver[inner(LIVER)].all()


def test_along_the_surface_the_first_look_stands() -> None:
    """The other two see it two voxels larger all around."""
    larger = there(tuple(slice(part.start - 2, part.stop + 2) for part in LIVER_AT))  # type: ignore[arg-type]
    _, liver = Looks(larger, larger, LIVER).mean()
    np.testing.assert_array_equal(liver, LIVER)


def test_far_from_what_was_seen_the_first_look_stands() -> None:
    """Nobody looks there again; what it may be is told by second_object_warnings."""
    far = there((slice(40, 44), slice(60, 64), slice(98, 102)))
    near = there((slice(12, 24), slice(14, 30), slice(8, 26)))
    looks = Looks(near, near, near | far)
    looks.first = (looks.first[0], BOX, near)
    mean, liver = looks.mean()
    assert mean[40 - 8 : 44 - 8, 60 - 10 : 64 - 10, 98 - 4 : 102 - 4].min() == 1
    assert not liver[far].any()


def test_where_only_one_sees_anything_there_is_no_liver() -> None:
    _, liver = Looks(NOWHERE, NOWHERE, LIVER).mean()
    assert not liver.any()


def test_the_second_look_sees_the_liver_smaller_and_a_whole_patch_of_what_lies_around() -> None:
    speck = there((slice(30, 34), slice(40, 44), slice(50, 54)))
    looks = Looks(speck, speck, speck)
    looks.fine = replace(looks.fine, spec=replace(looks.fine.spec, patch=(40, 50, 60)))
    looks.mean()
    (patch,) = looks.network.patches
    assert tuple(patch.shape[2:]) == (40, 50, 60)
    # 4 voxels become 2.5; all around it is the body, no air put there to fill the patch.
    assert 8 <= int((patch > 0.5).sum()) <= 27
    assert float(patch.min()) == pytest.approx(0.25)
