"""One object, no holes, and the truth about where the scan ends."""

from __future__ import annotations

import numpy as np
import pytest

from liver_unet.liver import Liver
from liver_unet.postprocess import is_too_dark, keep_one_liver, second_object_warnings
from liver_unet.volume import Grid

# Feet-first slices, rows to the left, columns to the back: nothing is where identity would put it.
AFFINE = np.array(
    [[0, 1.5, 0, -90], [0, 0, 2.0, -70], [-4.0, 0, 0, 500], [0, 0, 0, 1]], dtype=np.float64
)
WHOLE = Grid((30, 40, 50), AFFINE)


def probability() -> np.ndarray:
    field = np.full((12, 20, 30), 0.1, dtype=np.float32)
    field[2:10, 3:15, 4:25] = 0.9
    return field


def test_small_objects_go_and_the_rest_stays_to_the_bit() -> None:
    field = probability()
    expected = field.copy()
    field[0, 18, 28] = 0.8
    expected[0, 18, 28] = 0
    keep_one_liver(field)
    np.testing.assert_array_equal(field, expected)


def test_objects_that_touch_at_a_corner_are_one() -> None:
    field = probability()
    field[10, 15, 25] = 0.7
    before = field.copy()
    keep_one_liver(field)
    np.testing.assert_array_equal(field, before)


def test_a_hole_inside_is_closed_and_a_bay_is_not() -> None:
    field = probability()
    field[5, 7, 9] = 0.2
    field[4, 3:6, 20] = 0.2
    keep_one_liver(field)
    assert field[5, 7, 9] == 1
    assert (field[4, 3:6, 20] == np.float32(0.2)).all()


@pytest.mark.parametrize(
    ("start", "size", "end"),
    [
        ((0, 5, 5), (20, 20, 20), "top"),
        ((10, 5, 5), (20, 20, 20), "bottom"),
        ((5, 0, 5), (20, 20, 20), "right"),
        ((5, 20, 5), (20, 20, 20), "left"),
        ((5, 5, 0), (20, 20, 20), "front"),
        ((5, 5, 30), (20, 20, 20), "back"),
    ],
)
def test_a_cut_liver_names_the_patients_end(
    start: tuple[int, int, int], size: tuple[int, int, int], end: str
) -> None:
    z, y, x = (slice(a, a + n) for a, n in zip(start, size, strict=True))
    grid = Grid(WHOLE.shape, AFFINE * np.array([[2.5], [2.5], [2.5], [1]]))
    liver = Liver(np.ones(size, dtype=np.float32), (z, y, x), grid)
    assert liver.warnings == (
        f"liver touches the {end} of the field of view: volume is a lower bound",
    )


class TestSecondObject:
    """Voxels of 1.5 mL: 20 mm down the patient, 7.5 mm to the left, 10 mm to the back."""

    GRID = Grid(WHOLE.shape, AFFINE * np.array([[5.0], [5.0], [5.0], [1]]))

    def two(self, second: tuple[slice, slice, slice]) -> list[str]:
        liver = np.zeros(WHOLE.shape, dtype=bool)
        liver[10:20, 10:20, 10:20] = True
        found = liver.copy()
        found[second] = True
        return second_object_warnings(found, liver, self.GRID)

    def test_nothing_else(self) -> None:
        assert self.two((slice(12, 13), slice(12, 13), slice(12, 13))) == []

    def test_little_else(self) -> None:
        assert self.two((slice(25, 28), slice(25, 28), slice(25, 28))) == []  # 40.5 mL

    def test_how_much_and_where(self) -> None:
        (warning,) = self.two((slice(24, 28), slice(25, 29), slice(5, 9)))
        assert warning.startswith(
            "a second object of 96 mL was left out, 90 mm to the left, 80 mm in front, 220 mm below"
        )

    def test_a_tenth_of_a_small_liver(self) -> None:
        liver = np.zeros(WHOLE.shape, dtype=bool)
        liver[10:15, 10:15, 10:15] = True
        found = liver.copy()
        found[18:20, 10:14, 10:14] = True  # 48 mL beside 187.5
        (warning,) = second_object_warnings(found, liver, self.GRID)
        assert "48 mL was left out, 130 mm below" in warning


@pytest.mark.parametrize(("hu", "dark"), [(110, False), (37, False), (-25, False), (-98, True)])
def test_the_fattiest_liver_is_one_and_fat_is_not(hu: int, dark: bool) -> None:
    noise = np.random.default_rng(1).normal(0, 25, 5000)
    assert is_too_dark((hu + noise).astype(np.int16)) is dark
