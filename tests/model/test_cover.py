"""Where patches are laid: all of a liver well inside one, and few of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liver_unet.cover import Cover
from liver_unet.volume import Box

PATCH = (24, 36, 28)


def liver_of(shape: tuple[int, ...], at: tuple[float, ...], size: float) -> NDArray[np.bool_]:
    """A slanted, lopsided piece; in part beyond the image where it lies at its border."""
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    z0, y0, x0 = (a * n for a, n in zip(at, shape, strict=True))
    level = ((z - z0) / 9) ** 2 + ((y - y0 + 0.4 * (x - x0)) / 22) ** 2 + ((x - x0) / 31) ** 2
    return np.asarray(level < size**2)


def well_inside(box: Box, shape: tuple[int, ...]) -> Box:
    """All but an eighth of a patch on either side, less where the image ends."""
    parts = []
    for part, size in zip(box, shape, strict=True):
        rim = -(-(part.stop - part.start) // 8)
        low = part.start + rim if part.start > 0 else 0
        parts.append(slice(low, part.stop - rim if part.stop < size else size))
    return parts[0], parts[1], parts[2]


shapes = st.tuples(st.integers(24, 90), st.integers(36, 80), st.integers(28, 100))
places = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@given(shapes, places, st.floats(0.1, 2))
def test_all_of_it_lies_well_inside_a_patch_and_nothing_is_asked_twice(
    shape: tuple[int, int, int], at: tuple[float, float, float], size: float
) -> None:
    liver = liver_of(shape, at, size)
    cover = Cover(shape, PATCH)
    patches = cover.patches_for(liver)
    assert len(set(map(str, patches))) == len(patches) == cover.patches
    seen = np.zeros(shape, dtype=bool)
    for box in patches:
        for part, length, end in zip(box, PATCH, shape, strict=True):
            assert part.stop - part.start == length
            assert 0 <= part.start <= part.stop <= end
        assert liver[box].any()
        seen[well_inside(box, shape)] = True
    assert not (liver & ~seen).any()
    assert cover.patches_for(liver) == []


@given(places)
@settings(max_examples=25)
def test_what_grows_is_followed(at: tuple[float, float, float]) -> None:
    shape = (70, 64, 90)
    cover = Cover(shape, PATCH)
    first = cover.patches_for(liver_of(shape, at, 0.4))
    rest = cover.patches_for(liver_of(shape, at, 1.8))
    assert not {str(box) for box in first} & {str(box) for box in rest}
    alone = Cover(shape, PATCH).patches_for(liver_of(shape, at, 1.8))
    assert cover.patches <= 2 * len(alone) + 4


@pytest.mark.parametrize("shift", range(0, 24, 5))
def test_wherever_a_liver_lies_it_takes_as_few(shift: int) -> None:
    """A grid of patches that overlap by half would take 27, or 12 at best."""
    shape = (120, 130, 140)
    liver = np.zeros(shape, dtype=bool)
    liver[30 + shift : 62 + shift, 30 + shift : 78 + shift, 40 + shift : 76 + shift] = True
    assert len(Cover(shape, PATCH).patches_for(liver)) == 8


def test_a_small_one_lies_in_the_middle_of_its_patch() -> None:
    liver = np.zeros((80, 90, 100), dtype=bool)
    liver[40:44, 50:56, 30:34] = True
    [box] = Cover(liver.shape, PATCH).patches_for(liver)
    for part, middle in zip(box, (42, 53, 32), strict=True):
        assert (part.start + part.stop) / 2 == pytest.approx(middle, abs=3)


def test_nothing_takes_no_patch() -> None:
    assert Cover((40, 50, 60), PATCH).patches_for(np.zeros((40, 50, 60), dtype=bool)) == []
