"""The careful look near the liver against the same look at all of the image."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from liver_unet.inference import Windows, liver_probability
from liver_unet.localise import careful_look, quick_look
from liver_unet.volume import Box, box_of

PATCH = (16, 20, 28)
SHAPE = (70, 90, 110)
AIR, FAT, LIVER, TABLE = 0.0, 0.25, 0.68, 0.5
LEAST_VOXELS = 60.0
Mask = NDArray[np.bool_]


class LiverByValue(nn.Module):
    """Looks at each voxel by itself, so that no window differs from another; counts windows."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.windows += 1
        inside = 20 - 400 * (image - LIVER).abs()
        return torch.cat([-inside, inside], dim=1)


class Looks:
    """Both looks with one network; counts the windows of each."""

    def __init__(self, image: NDArray[np.float32]) -> None:
        self.network = LiverByValue()
        self.image = torch.from_numpy(image)
        self.shown: list[tuple[int, ...]] = []
        self.progress: list[float] = []

    def quick(self) -> Mask | None:
        def look(part: torch.Tensor) -> torch.Tensor:
            self.shown.append(tuple(part.shape))
            return liver_probability(self.network, part, PATCH, overlap=False)

        return quick_look(look, self.image, PATCH, LEAST_VOXELS)

    def careful(self, seen: Mask) -> tuple[Mask, Box] | None:
        """The largest object on the whole image, and the liver's box."""
        windows = Windows(self.network, self.image, PATCH)
        near = careful_look(windows, seen, self.progress.append)
        if near is None:
            return None
        probability, region, liver = near
        whole = np.zeros(self.image.shape, dtype=bool)
        whole[region] = probability.numpy() > 0.5
        return largest(whole), box_of(liver)

    def everywhere(self) -> Mask:
        probability = liver_probability(self.network, self.image, PATCH)
        return largest(probability.numpy() > 0.5)


def largest(mask: Mask) -> Mask:
    return np.asarray(cc3d.largest_k(mask.view(np.uint8), k=1, connectivity=26)).astype(bool)


def ellipsoid(centre: Sequence[float], radii: Sequence[float]) -> Mask:
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    level = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True))
    return np.broadcast_to(np.asarray(level < 1), SHAPE)


def body() -> NDArray[np.float32]:
    """A torso along all slices, off the middle, and a table behind it."""
    image = np.full(SHAPE, AIR, dtype=np.float32)
    image[ellipsoid((0, 40, 50), (1e6, 34, 46))] = FAT
    image[:, 80:84, 5:105] = TABLE
    return image


def scan(liver: Mask) -> NDArray[np.float32]:
    image = body()
    image[liver & (image == FAT)] = LIVER
    return image


@given(
    st.tuples(st.floats(0, 69), st.floats(15, 65), st.floats(15, 85)),
    st.tuples(st.floats(6, 30), st.floats(6, 30), st.floats(6, 40)),
)
@settings(max_examples=10)
def test_near_the_liver_and_everywhere_come_to_the_same_liver(
    centre: tuple[float, ...], radii: tuple[float, ...]
) -> None:
    """Law: to the voxel, wherever the liver lies and whatever of it the scan cuts off."""
    looks = Looks(scan(ellipsoid(centre, radii)))
    expected = looks.everywhere()
    seen = looks.quick()
    if seen is None:
        assert np.count_nonzero(expected) < 2 * LEAST_VOXELS
        return
    found = looks.careful(seen)
    assert found is not None
    np.testing.assert_array_equal(found[0], expected)
    for axis, part in enumerate(found[1]):
        along = np.flatnonzero(expected.any(axis=tuple(i for i in range(3) if i != axis)))
        assert (part.start, part.stop) == (along[0], along[-1] + 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("from_its_end", [False, True])
def test_a_liver_longer_than_what_was_seen_is_followed_to_its_ends(
    axis: int, from_its_end: bool
) -> None:
    radii = [7.0, 7.0, 7.0]
    radii[axis] = 60
    looks = Looks(scan(ellipsoid((35, 40, 50), radii)))
    expected = looks.everywhere()
    points = np.argwhere(expected)
    seen = np.zeros(SHAPE, dtype=bool)
    seen[tuple(points[points[:, axis].argmax() if from_its_end else points[:, axis].argmin()])] = 1
    found = looks.careful(seen)
    assert found is not None
    np.testing.assert_array_equal(found[0], expected)
    assert max(looks.progress) == 1


def test_the_careful_look_stays_near_the_liver() -> None:
    looks = Looks(scan(ellipsoid((20, 40, 60), (6, 7, 9))))
    seen = looks.quick()
    assert seen is not None
    before = looks.network.windows
    looks.careful(seen)
    near = looks.network.windows - before
    looks.everywhere()
    assert near * 8 < looks.network.windows - near - before


def test_a_scan_without_a_liver_gets_the_quick_look_alone() -> None:
    looks = Looks(body())
    assert looks.quick() is None
    assert len(looks.shown) == 1


def test_less_than_the_least_is_not_seen() -> None:
    assert Looks(scan(ellipsoid((35, 40, 50), (6, 6, 6)))).quick() is not None
    assert Looks(scan(ellipsoid((35, 40, 50), (2, 2, 2)))).quick() is None


def test_air_alone_gets_no_look() -> None:
    looks = Looks(np.full(SHAPE, AIR, dtype=np.float32))
    assert looks.quick() is None
    assert looks.shown == []


def test_what_the_careful_look_takes_back_is_no_liver() -> None:
    seen = np.zeros(SHAPE, dtype=bool)
    seen[30:40, 30:40, 40:50] = True
    assert Looks(body()).careful(seen) is None


def test_the_quick_look_leaves_the_table_out_and_sees_the_body_smaller() -> None:
    """The body fills 70 x 68 x 92 voxels."""
    looks = Looks(body())
    looks.quick()
    ((slices, rows, columns),) = looks.shown
    assert slices == round(70 / 1.3)
    assert 68 / 1.3 <= rows <= 78 / 1.3
    assert 92 / 1.3 <= columns <= 102 / 1.3


def test_a_body_smaller_than_a_window_is_shown_with_what_lies_around_it() -> None:
    image = np.full(SHAPE, AIR, dtype=np.float32)
    image[30:40, 38:50, 92:104] = LIVER
    looks = Looks(image)
    seen = looks.quick()
    assert looks.shown == [tuple(round(n / 1.3) for n in PATCH)]
    assert seen is not None
    assert seen[32:38, 40:48, 94:102].all()
    assert np.count_nonzero(seen) < 12**3
