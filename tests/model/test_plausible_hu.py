"""What no scanner measured is refused; what was clipped on purpose, or lies otherwise, is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liver_unet.model_errors import VolumeRefused
from liver_unet.plausible_hu import check_hu
from liver_unet.volume import Grid, Volume
from tests.support.phantom import ORIENTATIONS, Orientation, head, oriented, small_abdomen

PATIENT = small_abdomen().volume
Hu = NDArray[np.float32]


def changed(change: Callable[[Hu], Hu]) -> Volume:
    return Volume(change(PATIENT.hu.astype(np.float32)).astype(np.float32), PATIENT.grid)


def with_slices(slices: slice, hu: float) -> Volume:
    values = PATIENT.hu.copy()
    values[slices] = hu
    return Volume(values, PATIENT.grid)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_patient_is_read_however_the_slices_lie(orientation: Orientation) -> None:
    """Coronal slices show nothing but air between the back and the table's rail."""
    assert check_hu(oriented(small_abdomen(), orientation).volume) == []


def test_a_head_is_read() -> None:
    assert check_hu(head()) == []


class TestNotHu:
    @pytest.mark.parametrize(
        ("change", "what"),
        [
            pytest.param(lambda hu: hu + 1024, "as dark as air or fat", id="intercept lost"),
            pytest.param(
                lambda hu: np.where(hu < -900, -2000, hu + 1024),
                "as dark as air or fat",
                id="intercept lost beside padding",
            ),
            pytest.param(lambda hu: hu - 1024, "cannot be HU", id="intercept taken twice"),
            pytest.param(
                lambda hu: np.clip((hu + 160) / 400, 0, 1) * 255, "as dark as", id="0 to 255"
            ),
            pytest.param(lambda hu: np.clip((hu + 160) / 400, 0, 1), "as dark as", id="0 to 1"),
            pytest.param(lambda hu: (hu - hu.mean()) / hu.std(), "as dark as", id="z-scores"),
            pytest.param(lambda hu: hu / 20 - 60, "nearly all lie between", id="a twentieth"),
            pytest.param(lambda hu: hu * 10, "the body's median", id="ten times"),
            pytest.param(
                lambda hu: np.clip(hu - 20, 0, 100), "as dark as air or fat", id="iodine map"
            ),
            pytest.param(lambda hu: 0 * hu - 1024, "nothing but air", id="nothing"),
        ],
    )
    def test_refused(self, change: Callable[[Hu], Hu], what: str) -> None:
        with pytest.raises(VolumeRefused, match=what):
            check_hu(changed(change))

    @pytest.mark.parametrize(("low", "high"), [(-100, 400), (-125, 275), (-160, 240), (-210, 300)])
    def test_clipped_on_purpose_is_read_with_a_warning(self, low: int, high: int) -> None:
        """The published data sets, as people train on them."""
        (warning,) = check_hu(changed(lambda hu: np.clip(hu, low, high)))
        assert f"The lowest value is {low} HU" in warning

    @pytest.mark.parametrize("scale", [0.5, 0.7])
    def test_air_that_is_too_bright_is_told(self, scale: float) -> None:
        """As where the slope was lost of values in steps of another size."""
        (warning,) = check_hu(changed(lambda hu: np.clip(hu, -1000, 3000) * scale))
        assert "HU, and air is at -1000: the values were cut off there" in warning
        assert "or they were scaled" in warning

    @given(st.integers(-40, 40), st.floats(0.9, 1.1))
    @settings(max_examples=20, deadline=None)
    def test_a_scanner_somewhat_out_of_tune_is_read(self, shift: int, scale: float) -> None:
        assert check_hu(changed(lambda hu: hu * scale + shift)) == []


class TestSlicesWithoutAnImage:
    @pytest.mark.parametrize(
        ("slices", "hu", "what"),
        [
            (slice(11, 12), -1000, "Slice 12 of 24 (instance 1.2.11) holds"),
            (slice(11, 12), -1024, "Slice 12 of 24"),
            (slice(11, 12), 40, "Slice 12 of 24"),
            (slice(1, 2), 0, "Slice 2 of 24"),
            (slice(8, 12), 0, "Slices 9, 10, 11, 12 of 24 (the first is instance 1.2.8) hold"),
            (slice(6, 14), 0, "Slices 7, 8, 9, 10, 11 and 3 more of 24"),
            (slice(0, 4), 0, "Slices 1, 2, 3, 4 of 24"),
            (slice(22, 24), 55, "Slices 23, 24 of 24"),
        ],
    )
    def test_refused_by_number(self, slices: slice, hu: float, what: str) -> None:
        names = [f"instance 1.2.{index}" for index in range(24)]
        with pytest.raises(VolumeRefused) as refusal:
            check_hu(with_slices(slices, hu), names)
        assert what in str(refusal.value)

    def test_noisy_air_is_no_image_either(self) -> None:
        values = PATIENT.hu.copy()
        noise = np.random.default_rng(4).normal(-1000, 20, values.shape[1:])
        values[11] = noise.astype(np.int16)
        with pytest.raises(VolumeRefused, match="Slice 12 of 24 holds no image"):
            check_hu(Volume(values, PATIENT.grid))

    def test_a_dark_slice_of_a_clipped_scan(self) -> None:
        volume = changed(lambda hu: np.clip(hu, -200, 300))
        volume.hu[11] = -200
        with pytest.raises(VolumeRefused, match="Slice 12 of 24"):
            check_hu(volume)

    def test_air_at_the_ends_is_warned_about(self) -> None:
        (warning,) = check_hu(with_slices(slice(0, 3), -1000))
        assert warning == "At the ends of the scan 3 slices hold one value and no image."

    def test_a_few_rows_are_an_image(self) -> None:
        values = PATIENT.hu.copy()
        values[11] = -1000
        values[11, 33:36, 30:60] = 40
        (warning,) = check_hu(Volume(values, PATIENT.grid))
        assert warning.startswith("Slices 11 and 12, 12 and 13 differ far more")

    def test_the_room_beside_the_body_is_no_end_of_the_scan(self) -> None:
        sagittal = oriented(small_abdomen(), "sagittal").volume
        sagittal.hu[:3] = -1024
        assert check_hu(sagittal) == []

    @given(st.integers(1, 22), st.integers(-1500, 1500))
    @settings(max_examples=30, deadline=None)
    def test_no_value_hides_a_blank_slice(self, index: int, hu: int) -> None:
        """Law: a slice of one value between others is refused, whatever the value."""
        with pytest.raises(VolumeRefused, match=f"Slice {index + 1} of 24"):
            check_hu(with_slices(slice(index, index + 1), hu))


class TestNeighbours:
    """Slices as real ones are, with noise of their own."""

    def noisy(self, order: list[int]) -> Volume:
        noise = np.random.default_rng(3).normal(0, 12, PATIENT.hu.shape)
        return Volume((PATIENT.hu + noise)[order].astype(np.float32), PATIENT.grid)

    def test_their_order_is_right(self) -> None:
        for order in (list(range(24)), list(range(24))[::-1]):
            assert check_hu(self.noisy(order)) == []

    def test_slices_sorted_by_their_names(self) -> None:
        """As by a program that makes one file of them; a real CT so: 1274.6 mL of 1364."""
        (warning,) = check_hu(self.noisy(sorted(range(24), key=str)))
        assert warning.startswith("Slices 12 and 13, 13 and 14, 17 and 18 differ far more")

    @pytest.mark.parametrize("index", [1, 11, 23])
    def test_a_slice_that_repeats_its_neighbour(self, index: int) -> None:
        """A copy in the place of one that was lost."""
        order = [*range(index), index - 1, *range(index + 1, 24)]
        names = [f"instance 1.2.{n}" for n in range(24)]
        with pytest.raises(VolumeRefused) as refusal:
            check_hu(self.noisy(order), names)
        what = f"Slice {index + 1} of 24 (instance 1.2.{index}) holds the very pixels of the slice"
        assert str(refusal.value).startswith(what)

    @pytest.mark.parametrize("orientation", ["coronal", "tilted"])
    def test_a_repeat_however_the_slices_lie(self, orientation: Orientation) -> None:
        volume = oriented(small_abdomen(), orientation).volume
        middle = len(volume.hu) // 2
        volume.hu[middle + 1] = volume.hu[middle]
        with pytest.raises(VolumeRefused, match=f"Slice {middle + 2} of .* the very pixels"):
            check_hu(volume)

    def test_every_slice_twice(self) -> None:
        """A stack drawn out to twice its length: 3455 mL of 1727."""
        twice = np.repeat(self.noisy(list(range(24))).hu, 2, axis=0).astype(np.float32)
        with pytest.raises(VolumeRefused, match="Slices 2, 4, 6, 8, 10 and 19 more of 48 hold the"):
            check_hu(Volume(twice, Grid((48, 70, 92), PATIENT.grid.affine)))

    @pytest.mark.parametrize(
        "turn",
        [
            pytest.param(lambda one: one[:, ::-1], id="left is right"),
            pytest.param(lambda one: one[::-1], id="upside down"),
            pytest.param(lambda one: one[::-1, ::-1], id="half a turn"),
        ],
    )
    @pytest.mark.parametrize(("slices", "told"), [([11], "11 and 12, 12 and 13"), ([0], "1 and 2")])
    def test_a_slice_the_other_way_round(
        self, turn: Callable[[Hu], Hu], slices: list[int], told: str
    ) -> None:
        volume = self.noisy(list(range(24)))
        volume.hu[slices] = [turn(one) for one in volume.hu[slices]]
        with pytest.raises(VolumeRefused, match=f"Slices {told} lie mirrored or turned"):
            check_hu(volume)

    @pytest.mark.parametrize("turn", [np.rot90, np.transpose])
    def test_a_square_slice_may_lie_on_its_side(self, turn: Callable[[Hu], Hu]) -> None:
        volume = self.noisy(list(range(24)))
        square = np.full((24, 92, 92), -1000, dtype=np.float32)
        square[:, 11:-11] = volume.hu
        square[11] = turn(square[11])
        with pytest.raises(VolumeRefused, match="Slices 11 and 12, 12 and 13 lie mirrored"):
            check_hu(Volume(square, Grid((24, 92, 92), PATIENT.grid.affine)))

    @pytest.mark.parametrize("columns", [5, -20, 46])
    def test_a_slice_moved_within_its_plane(self, columns: int) -> None:
        """What leaves at one side comes in at the other."""
        volume = self.noisy(list(range(24)))
        volume.hu[11] = np.roll(volume.hu[11], columns, axis=1)
        (warning,) = check_hu(volume)
        assert warning.startswith("Slices 11 and 12, 12 and 13 would fit far better if one were")

    @pytest.mark.parametrize(("passes", "told"), [(2, "second"), (3, "third")])
    def test_passes_in_turn(self, passes: int, told: str) -> None:
        """Of other breaths, and nothing but the pixels to tell it, as in a NIfTI."""
        in_turn = [n // passes + n % passes * 4 for n in range(24)]
        assert any(
            one.startswith(f"Every {told} slice is more like the one {passes} slices on")
            for one in check_hu(self.noisy(in_turn))
        )

    def test_noise_has_no_other_way_round(self) -> None:
        noise = np.random.default_rng(5).integers(-1024, 700, PATIENT.hu.shape).astype(np.float32)
        assert check_hu(Volume(noise, PATIENT.grid)) == []


@pytest.mark.parametrize("factor", [0.1, 0.01, 10.0])
def test_voxel_sizes_that_make_no_body(factor: float) -> None:
    affine = PATIENT.grid.affine * factor
    affine[3, 3] = 1
    with pytest.raises(VolumeRefused, match="the voxel sizes are wrong"):
        check_hu(Volume(PATIENT.hu, Grid(PATIENT.grid.shape, affine)))
