"""Tracing and checking: any probability -> contours -> pixels == where it is above 0.5."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from liver_unet.volume import Grid
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import Contour, trace_contours
from orthanc_liver.liver_errors import ContoursDisagree
from tests.support.judges import polygon_mask

_UPRIGHT = np.array([[0, 0, 0.8, -90], [0, 0.7, 0, -110], [2.5, 0, 0, -700], [0, 0, 0, 1.0]])
# Turned about two axes, mirrored, and each slice shifted within its plane (gantry tilt).
_SHEARED = np.array(
    [[0.3, 0.21, 0.76, 812.4], [-1.1, 0.66, -0.2, -310], [-2.4, 0.11, 0.1, 77.7], [0, 0, 0, 1]]
)
_NEAR_HALF = [
    0.5,
    float(np.nextafter(np.float32(0.5), np.float32(1))),
    float(np.nextafter(np.float32(0.5), np.float32(0))),
    0.4999,
    0.5001,
    0.0,
    1.0,
]

_shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 12))
_spacings = st.floats(0.3, 6)


@st.composite
def _affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Oblique, possibly mirrored, possibly sheared along the slices; positions as in real CT."""
    a, b, c = (draw(st.floats(-np.pi, np.pi)) for _ in range(3))
    turn = np.eye(3)
    for axis, angle in enumerate((a, b, c)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn * [draw(_spacings), draw(_spacings), draw(_spacings)]
    affine[:3, 0] *= draw(st.sampled_from([-1, 1]))
    affine[:3, 0] += draw(st.floats(-1, 1)) * affine[:3, 1] + draw(st.floats(-1, 1)) * affine[:3, 2]
    affine[:3, 3] = [draw(st.floats(-2000, 2000)) for _ in range(3)]
    return affine


def _scikit_image_mask(contours: list[Contour], grid: Grid) -> NDArray[np.bool_]:
    mask = np.zeros(grid.shape, dtype=bool)
    for contour in contours:
        index = grid.to_index(contour.points_mm)
        mask[contour.slice_index] ^= polygon_mask(index[:, 1:], grid.shape[1:])
    return mask


def _blocks(*rows: str) -> NDArray[np.float32]:
    """One slice drawn in text, # for liver."""
    return np.array([[[float(c == "#") for c in row] for row in rows]], dtype=np.float32)


def _area_px(contour: Contour, grid: Grid) -> float:
    row, column = grid.to_index(contour.points_mm)[:, 1:].T
    return float(abs(row @ np.roll(column, -1) - column @ np.roll(row, -1)) / 2)


@settings(max_examples=200)
@given(mask=_shapes.flatmap(lambda s: hnp.arrays(bool, s)), affine=_affines())
def test_a_mask_comes_back_from_its_contours(
    mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> None:
    grid = Grid(mask.shape, affine)
    contours = trace_contours(mask.astype(np.float32), grid)
    check_contours(contours, mask, grid)
    assert np.array_equal(_scikit_image_mask(contours, grid), mask)


@settings(max_examples=200)
@given(
    probability=_shapes.flatmap(
        lambda s: hnp.arrays(
            np.float32, s, elements=st.floats(0, 1, width=32) | st.sampled_from(_NEAR_HALF)
        )
    ),
    affine=_affines(),
)
def test_a_probability_comes_back_as_where_it_is_above_half(
    probability: NDArray[np.float32], affine: NDArray[np.float64]
) -> None:
    grid = Grid(probability.shape, affine)
    contours = trace_contours(probability, grid)
    check_contours(contours, probability > 0.5, grid)
    assert np.array_equal(_scikit_image_mask(contours, grid), probability > 0.5)


@settings(max_examples=100)
@given(mask=st.tuples(st.integers(1, 12), st.integers(1, 9)).flatmap(lambda s: hnp.arrays(bool, s)))
def test_area_of_a_binary_mask(mask: NDArray[np.bool_]) -> None:
    """Area = pixels - half a pixel per outer ring + half a pixel per hole."""
    grid = Grid((1, *mask.shape), _SHEARED)
    contours = trace_contours(mask[None].astype(np.float32), grid)
    outers = ndimage.label(mask)[1]
    holes = ndimage.label(~np.pad(mask, 1), np.ones((3, 3)))[1] - 1
    assert len(contours) == outers
    area = sum(_area_px(contour, grid) for contour in contours)
    assert area == pytest.approx(mask.sum() - outers / 2 + holes / 2, abs=1e-2)


def test_smooth_probability_gives_sub_voxel_contours() -> None:
    row, column = np.mgrid[:40, :47]
    radius_px = 14.3
    distance = np.hypot(row - 19.2, column - 24.7) - radius_px
    probability = (1 / (1 + np.exp(2 * distance)))[None].astype(np.float32)
    grid = Grid((1, 40, 47), _SHEARED)
    (contour,) = trace_contours(probability, grid)
    assert _area_px(contour, grid) == pytest.approx(np.pi * radius_px**2, rel=2e-3)
    away = np.hypot(*(grid.to_index(contour.points_mm)[:, 1:] - [19.2, 24.7]).T) - radius_px
    assert np.abs(away).max() < 0.03


def test_holes_are_joined_and_islands_are_not() -> None:
    probability = _blocks(
        "##############",
        "#            #".replace(" ", "."),
        "#.####.####..#",
        "#.#..#.#..#..#",
        "#.#..###..#..#",
        "#.#######.#..#",
        "#.#########..#",
        "#............#",
        "##############",
    )
    grid = Grid((1, 9, 14), _UPRIGHT)
    contours = trace_contours(probability, grid)
    areas = sorted(round(_area_px(contour, grid), 2) for contour in contours)
    island = int((probability[:, 2:7, 2:11] > 0.5).sum())
    rim = int((probability > 0.5).sum()) - island
    assert areas == [island - 0.5 + 2 * 0.5, rim - 0.5 + 0.5]
    check_contours(contours, probability > 0.5, grid)


def test_bridges_keep_off_pixel_centres() -> None:
    """Also where hole and outer ring are nearest along a row: readers may lose what is on it."""
    probability = np.ones((1, 11, 9), dtype=np.float32)
    probability[0, 5, 3:6] = probability[0, 8, 7] = 0
    grid = Grid(probability.shape, _UPRIGHT)
    (contour,) = trace_contours(probability, grid)
    index = grid.to_index(contour.points_mm)[:, 1:]
    ends = np.roll(index, -1, axis=0)
    along = ends - index
    for centre in np.argwhere(probability[0] > 0.5):
        t = np.clip(((centre - index) * along).sum(1) / (along**2).sum(1), 0, 1)
        assert np.hypot(*(index + t[:, None] * along - centre).T).min() > 0.05


@pytest.mark.parametrize(
    "probability",
    [
        np.ones((2, 3, 5), np.float32),
        _blocks("#"),
        _blocks("...", ".#.", "..#"),
        np.full((1, 4, 3), np.nextafter(np.float32(0.5), np.float32(1))),
        np.where(np.indices((1, 7, 9)).sum(0) % 2, np.float32(0.5), np.float32(0.50001)),
    ],
    ids=["whole array", "one pixel", "diagonal", "barely above everywhere", "checkerboard"],
)
def test_every_contour_is_a_polygon_and_closes_at_the_border(
    probability: NDArray[np.float32],
) -> None:
    grid = Grid(probability.shape, _SHEARED)
    contours = trace_contours(probability, grid)
    check_contours(contours, probability > 0.5, grid)
    for contour in contours:
        assert len(np.unique(contour.points_mm, axis=0)) >= 3
        assert _area_px(contour, grid) > 0
        index = grid.to_index(contour.points_mm)[:, 1:]
        assert (index > -1).all()
        assert (index < grid.shape[1:]).all()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_nothing_above_half_gives_no_contour(value: float) -> None:
    probability = np.full((2, 3, 4), value, dtype=np.float32)
    assert trace_contours(probability, Grid((2, 3, 4), _UPRIGHT)) == []


def test_a_box_gives_the_contours_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    box = (slice(2, 6), slice(3, 13), slice(4, 12))
    probability = np.zeros((8, 16, 15), dtype=np.float32)
    probability[2:6, 4:12, 5:11] = rng.random((4, 8, 6), dtype=np.float32)
    grid = Grid(probability.shape, _SHEARED)
    whole = trace_contours(probability, grid)
    boxed = trace_contours(probability[box], grid.cropped(box), first_slice=2)
    assert [c.slice_index for c in boxed] == [c.slice_index for c in whole]
    for one, other in zip(boxed, whole, strict=True):
        assert np.allclose(one.points_mm, other.points_mm, rtol=0, atol=1.01e-4)
    check_contours(boxed, probability[box] > 0.5, grid.cropped(box), first_slice=2)


def test_points_are_rounded_as_they_will_be_written() -> None:
    probability = np.random.default_rng(6).random((3, 8, 9), dtype=np.float32)
    for contour in trace_contours(probability, Grid((3, 8, 9), _SHEARED)):
        for value in contour.points_mm.ravel():
            assert len(repr(float(value)).split(".")[1]) <= 4


class TestCheckSees:
    """Each fault that contours have been known to have."""

    grid = Grid((4, 9, 12), _SHEARED)

    @pytest.fixture
    def mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.grid.shape, dtype=bool)
        mask[1:3, 2:7, 3:10] = True
        mask[1, 4, 5:7] = False
        return mask

    @pytest.fixture
    def contours(self, mask: NDArray[np.bool_]) -> list[Contour]:
        return trace_contours(mask.astype(np.float32), self.grid)

    def _moved(self, contour: Contour, by: tuple[float, float, float]) -> Contour:
        index = self.grid.to_index(contour.points_mm) + by
        return replace(contour, points_mm=self.grid.to_mm(index))

    def _refused(self, contours: list[Contour], mask: NDArray[np.bool_], words: str) -> None:
        with pytest.raises(ContoursDisagree, match=words):
            check_contours(contours, mask, self.grid)

    def test_nothing_wrong(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        check_contours(contours, mask, self.grid)

    def test_a_contour_lost(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        self._refused(contours[:1], mask, r"slice 2 differ from the mask in 35 pixels")

    def test_a_contour_twice(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        self._refused([*contours, contours[1]], mask, r"slice 2 differ .* 35 pixels")

    def test_a_hole_as_a_contour(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        full, hole = mask.copy(), np.zeros_like(mask)
        full[1, 4, 5:7], hole[1, 4, 5:7] = True, True
        apart = [
            contour
            for part in (full, hole)
            for contour in trace_contours(part.astype(np.float32), self.grid)
        ]
        self._refused(apart, mask, r"slice 1 differ .* 2 pixels")

    def test_one_pixel_more(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        mask[3, 8, 11] = True
        self._refused(contours, mask, r"slice 3 differ .* 1 pixels")

    def test_a_shift_by_a_pixel(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        moved = self._moved(contours[1], (0, 0, 1))
        self._refused([contours[0], moved], mask, r"slice 2 differ .* 10 pixels")

    def test_a_mirrored_slice(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        index = self.grid.to_index(contours[1].points_mm) * [1, -1, 1] + [0, 8, 0]
        mirrored = replace(contours[1], points_mm=self.grid.to_mm(index))
        mask[2, 2, 3] = False  # the block alone is its own mirror image, its gap is not
        self._refused([contours[0], mirrored], mask, r"slice 2 differ")

    @pytest.mark.parametrize("by_slices", [1.0, 0.002])
    def test_off_its_plane(
        self, contours: list[Contour], mask: NDArray[np.bool_], by_slices: float
    ) -> None:
        moved = self._moved(contours[1], (by_slices, 0, 0))
        self._refused([contours[0], moved], mask, r"mm off that slice's plane")

    def test_another_slices_number(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        self._refused([replace(contours[0], slice_index=3)], mask, r"slice 3 lies up to")
        self._refused([replace(contours[0], slice_index=4)], mask, r"slice 4 lies up to")

    @pytest.mark.parametrize("slices", [-2, 3])
    def test_on_a_plane_outside_the_box(
        self, contours: list[Contour], mask: NDArray[np.bool_], slices: int
    ) -> None:
        moved = replace(self._moved(contours[0], (slices, 0, 0)), slice_index=1 + slices)
        self._refused([moved], mask, rf"slice {1 + slices} reaches beyond")

    def test_far_away(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        far = self._moved(contours[1], (0, -30, 0))
        self._refused([contours[0], far], mask, r"slice 2 reaches beyond")

    def test_not_a_number(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        lost = replace(contours[1], points_mm=contours[1].points_mm * np.nan)
        self._refused([contours[0], lost], mask, r"slice 2 lies")

    def test_two_points(self, contours: list[Contour], mask: NDArray[np.bool_]) -> None:
        line = replace(contours[1], points_mm=contours[1].points_mm[:2])
        self._refused([contours[0], line], mask, r"fewer than three points")
