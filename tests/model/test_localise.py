"""Fine localisation near the liver against the same network on all of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cc3d
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from liver_unet.inference import Patches, liver_probability
from liver_unet.localise import coarse_localisation, fine_localisation
from liver_unet.volume import Box, box_of
from tests.support.liver_by_hu import SPEC, model_of

PATCH = (16, 20, 28)
SHAPE = (70, 90, 110)
AIR, FAT, LIVER, TABLE = 0.0, 0.25, 0.68, 0.5
Mask = NDArray[np.bool_]


class LiverByValue(nn.Module):
    """Looks at each voxel by itself, so that no patch differs from another; counts patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.patches += 1
        inside = 20 - 400 * (image - LIVER).abs()
        return torch.cat([-inside, inside], dim=1)


class Search:
    """Both localisations with one network; counts the patches of each."""

    def __init__(self, image: NDArray[np.float32], coarser: float = 0) -> None:
        """coarser: how much a coarse network's voxels are larger; 0: there is none."""
        self.network = LiverByValue()
        self.model = model_of(self.network, replace(SPEC, patch=PATCH, spacing_mm=1.5))
        self.coarse_model = None
        if coarser:
            spec = replace(SPEC, patch=PATCH, spacing_mm=1.5 * coarser)
            self.coarse_model = model_of(LiverByValue(), spec)
        self.image = torch.from_numpy(image)
        self.shown: list[tuple[int, ...]] = []
        self.progress: list[float] = []

    def coarse(self) -> Mask:
        def noting(network: nn.Module, image: torch.Tensor, *rest: Any, **more: Any) -> Any:
            self.shown.append(tuple(image.shape))
            return Patches(network, image, *rest, **more)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("liver_unet.model.Patches", noting)
            look = coarse_localisation(
                self.image, self.model, self.coarse_model, self.progress.append
            )
        if look is None:
            return np.zeros(SHAPE, dtype=bool)
        self.dice = look.dice
        return look.on_image(self.image)

    def fine(self, seen: Mask) -> tuple[Mask, Box]:
        """The largest object on the whole image, and the liver's box."""
        patches = Patches(self.network, self.image, PATCH)
        probability, region, liver = fine_localisation(patches, seen, self.progress.append)
        whole = np.zeros(self.image.shape, dtype=bool)
        whole[region] = probability.numpy() > 0.5
        return largest(whole), box_of(liver)

    def everywhere(self) -> Mask:
        """In one pass, which is what patches come to where each voxel is looked at by itself."""
        liver = self.network(self.image[None, None]).softmax(dim=1)[0, 1]
        return largest(liver.numpy() > 0.5)


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
    search = Search(scan(ellipsoid(centre, radii)))
    expected = search.everywhere()
    seen = search.coarse()
    if not seen.any():
        assert np.count_nonzero(expected) < 120
        return
    found = search.fine(seen)
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
    search = Search(scan(ellipsoid((35, 40, 50), radii)))
    expected = search.everywhere()
    points = np.argwhere(expected)
    seen = np.zeros(SHAPE, dtype=bool)
    seen[tuple(points[points[:, axis].argmax() if from_its_end else points[:, axis].argmin()])] = 1
    found = search.fine(seen)
    np.testing.assert_array_equal(found[0], expected)
    assert max(search.progress) == 1


def test_fine_localisation_stays_near_the_liver() -> None:
    search = Search(scan(ellipsoid((20, 40, 60), (6, 7, 9))))
    seen = search.coarse()
    before = search.network.patches
    search.fine(seen)
    near = search.network.patches - before
    whole = liver_probability(search.network, search.image, PATCH).numpy() > 0.5
    np.testing.assert_array_equal(largest(whole), search.everywhere())
    assert near * 8 < search.network.patches - near - before - 1


def test_in_a_scan_without_a_liver_nothing_is_seen() -> None:
    search = Search(body())
    assert not search.coarse().any()
    assert len(search.shown) == 1


def test_what_is_seen_is_as_large_as_it_is() -> None:
    liver = ellipsoid((35, 40, 50), (6, 9, 14))
    seen = np.count_nonzero(Search(scan(liver)).coarse())
    assert seen == pytest.approx(np.count_nonzero(liver), rel=0.25)


def test_air_alone_is_not_shown() -> None:
    search = Search(np.full(SHAPE, AIR, dtype=np.float32))
    assert not search.coarse().any()
    assert search.shown == []


def test_what_fine_localisation_takes_back_is_no_liver() -> None:
    seen = np.zeros(SHAPE, dtype=bool)
    seen[30:40, 30:40, 40:50] = True
    patches = Patches(LiverByValue(), torch.from_numpy(body()), PATCH)
    assert not fine_localisation(patches, seen, lambda fraction: None)[2].any()


def test_coarse_localisation_leaves_the_table_out_and_sees_the_body_smaller() -> None:
    """The body fills 70 x 68 x 92 voxels."""
    search = Search(body())
    search.coarse()
    ((slices, rows, columns),) = search.shown
    assert slices == round(70 / 1.3)
    assert 68 / 1.3 <= rows <= 78 / 1.3
    assert 92 / 1.3 <= columns <= 102 / 1.3


def test_a_body_smaller_than_a_patch_is_shown_with_what_lies_around_it() -> None:
    image = np.full(SHAPE, AIR, dtype=np.float32)
    image[30:40, 38:50, 92:104] = LIVER
    search = Search(image)
    seen = search.coarse()
    assert search.shown == [tuple(round(n / 1.3) for n in PATCH)]
    assert seen[32:38, 40:48, 94:102].all()
    assert np.count_nonzero(seen) < 12**3


@pytest.mark.parametrize("coarser", [2.0, 2.7])
def test_a_coarse_network_sees_the_body_on_its_own_voxels_in_patches_that_overlap(
    coarser: float,
) -> None:
    liver = ellipsoid((40, 38, 40), (24, 18, 26)).copy()
    search = Search(scan(liver), coarser)
    seen = search.coarse()
    ((slices, rows, columns),) = search.shown
    assert slices == round(70 / coarser)
    assert 68 / coarser <= rows <= 78 / coarser + 1
    assert 92 / coarser <= columns <= 102 / coarser + 1
    assert dice(seen, liver) > 0.9
    assert search.dice(liver) > 0.88
    assert search.dice(np.roll(liver, 12, axis=2)) == pytest.approx(
        dice(np.roll(liver, 12, axis=2), liver), abs=0.08
    )


def test_a_coarse_network_shows_a_body_smaller_than_its_patch_with_what_lies_around_it() -> None:
    image = np.full(SHAPE, AIR, dtype=np.float32)
    image[30:40, 38:50, 92:104] = LIVER
    search = Search(image, 2.0)
    seen = search.coarse()
    assert search.shown == [PATCH]
    assert seen[32:38, 40:48, 94:102].all()
    assert np.count_nonzero(seen) < 14**3


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
