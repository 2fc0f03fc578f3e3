"""Signals of doubt against outlines whose doubt is drawn, and the grade that they come to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from liver_unet.doubt import doubt_about, grade_of, signals_of, where_unsure
from liver_unet.grade import Grade
from liver_unet.liver import Liver
from liver_unet.volume import Grid, Volume
from liver_unet.weights import Calibration

SHAPE = (60, 70, 90)
BOX = (slice(0, 60), slice(0, 70), slice(0, 90))
RULE = Calibration(
    limits={
        "unsure_share": (0.05, 0.15),
        "wrong_share": (0.10, 0.30),
        "disagreement": (0.10, 0.20),
    },
    counts={"sure": (1, 80), "look": (7, 20), "doubtful": (11, 12)},
    measured_on="drawn",
)


def grid(spacing_mm: tuple[float, float, float] = (1.5, 1.5, 1.5), x_mm: float = -120.0) -> Grid:
    """x grows to the patient's left; the grid begins at x_mm."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing_mm, 1.0
    affine[:3, 3] = (x_mm, -40.0, 15.0)
    return Grid(SHAPE, affine)


def probability() -> NDArray[np.float32]:
    """A block that is sure but for its rind of one voxel, of 40 x 30 x 50 voxels."""
    p = np.zeros(SHAPE, dtype=np.float32)
    p[9:51, 19:51, 19:71] = 0.3
    p[10:50, 20:50, 20:70] = 0.98
    return p


def with_unsure_slab() -> NDArray[np.float32]:
    """The block with 12 slices of its end in doubt: 0.6 in 12 x 30 x 50 voxels."""
    p = probability()
    p[38:50, 20:50, 20:70] = 0.6
    return p


def signals(p: NDArray[np.float32], on: Grid, second_opinion: float | None = None):  # type: ignore[no-untyped-def]
    return signals_of(torch.from_numpy(p), p > 0.5, on, second_opinion)


def test_a_thin_rind_is_no_doubt() -> None:
    found = signals(probability(), grid())
    assert found.unsure_share == 0
    assert found.disagreement is None
    assert "disagreement" not in found.shares


def test_what_is_thickly_unsure_is_measured_by_volume() -> None:
    """With the half sure voxels around it, which the rind adds to: 3 mm on every side."""
    found = signals(with_unsure_slab(), grid(), 0.9)
    thicker = (12 + 4) * (30 + 4) * (50 + 4) / (12 * 30 * 50)
    assert 12 / 40 < found.unsure_share < 12 / 40 * thicker
    assert found.disagreement == pytest.approx(0.1)


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 1.5), (3.0, 1.2, 1.4), (5.0, 4.0, 4.4)])
def test_the_wrong_share_is_what_the_probability_expects(
    spacing_mm: tuple[float, float, float],
) -> None:
    """By hand: 2 % of the sure part, 40 % of the slab and 30 % of the rind outside."""
    p = with_unsure_slab()
    by_hand = (0.02 * (p == 0.98).sum() + 0.4 * (p == 0.6).sum() + 0.3 * (p == 0.3).sum()) / (
        p > 0.5
    ).sum()
    found = signals(p.astype(np.float32), grid(spacing_mm))
    # Voxels that are averaged across the outline's edge are between both.
    assert found.wrong_share == pytest.approx(by_hand, rel=0.25)


def liver_of(p: NDArray[np.float32], on: Grid, left_out: tuple[str, ...] = ()) -> Liver:
    return Liver(p, BOX, on, left_out)


def body(on: Grid, hu: int = 60) -> Volume:
    """It reaches 25 mm further to the patient's left than to the right of the block."""
    values = np.full(on.shape, hu, dtype=np.int16)
    values[:, :, :17] = -1000
    return Volume(values, on)


def test_the_region_to_look_at_is_told_by_the_slices_of_the_ct() -> None:
    """Another grid than the network's: 4 mm slices that begin 9 mm lower and run downwards."""
    p, on = with_unsure_slab(), grid()
    affine = np.diag([2.0, 2.0, 4.0, 1.0])[:, [2, 1, 0, 3]].astype(float)
    affine[2, 0] = -4.0
    affine[:3, 3] = (-120.0, -40.0, 15.0 - 9.0 + 4.0 * 26)
    ct_grid = Grid((27, 60, 80), affine)
    ct = Volume(np.full(ct_grid.shape, 60, dtype=np.int16), ct_grid)
    mask = np.zeros(ct_grid.shape, dtype=np.float32)
    mask[5:20, 10:30, 5:40] = 1
    liver = Liver(mask, (slice(0, 27), slice(0, 60), slice(0, 80)), ct_grid)
    doubt = doubt_about(liver, ct, signals(p, on), RULE)
    [region] = doubt.look_at
    # The slab reaches from 15 + 38 * 1.5 = 72 to 90 mm; slice 1 lies at 110 mm.
    assert region.first_slice == pytest.approx(1 + (110 - 90) / 4, abs=1.5)
    assert region.last_slice == pytest.approx(1 + (110 - 72) / 4, abs=1.5)
    assert 60.7 < region.ml < 100
    assert (
        f"slices {region.first_slice}-{region.last_slice} ({region.ml:.0f} mL)"
        in (doubt.reasons[0])
    )
    assert "mL), counted from the top" in doubt.reasons[0]
    upwards = doubt_about(liver_of(p, on), body(on), signals(p, on), RULE)
    assert "mL), counted from the bottom" in upwards.reasons[0]
    # What is shaded is what is named, and lies on those slices.
    unsure = where_unsure(signals(p, on))
    assert unsure is not None
    assert np.count_nonzero(unsure.mask) * unsure.grid.voxel_ml == pytest.approx(region.ml)
    shaded = ct_grid.box_around(unsure.grid.to_mm(np.argwhere(unsure.mask).astype(float)))[0]
    assert (shaded.start + 1, shaded.stop) == (region.first_slice, region.last_slice)
    assert where_unsure(signals(probability(), on)) is None


def test_the_reason_quotes_what_outlines_like_it_were() -> None:
    p, on = with_unsure_slab(), grid()
    doubt = doubt_about(liver_of(p, on), body(on), signals(p, on, 0.85), RULE)
    assert doubt.grade is Grade.DOUBTFUL
    [reason] = doubt.reasons
    assert reason.startswith("the outline is doubtful: the network is unsure of ")
    assert "two networks differ by 15 %" in reason
    assert "of 12 outlines like this 11 were wrong" in reason


def test_a_sure_outline_has_no_reason_and_weights_without_counts_quote_none() -> None:
    p, on = probability(), grid()
    sure = doubt_about(liver_of(p, on), body(on), signals(p, on), RULE)
    assert (sure.grade, sure.reasons, sure.look_at) == (Grade.SURE, (), ())
    q = with_unsure_slab()
    doubt = doubt_about(liver_of(q, on), body(on), signals(q, on), None)
    assert doubt.grade is Grade.DOUBTFUL
    assert "outlines like this" not in doubt.reasons[0]


def test_a_signal_that_the_calibration_did_not_have_is_heard_all_the_same() -> None:
    """As where a coarse network was put beside weights that were calibrated without one."""
    p, on = probability(), grid()
    alone = replace(RULE, limits={name: RULE.limits[name] for name in ("unsure_share",)})
    doubt = doubt_about(liver_of(p, on), body(on), signals(p, on, 0.5), alone)
    assert doubt.grade is Grade.DOUBTFUL
    assert "two networks differ by 50 %" in doubt.reasons[0]
    assert "outlines like this" not in doubt.reasons[0]


@pytest.mark.parametrize(
    ("shares", "grade"),
    [
        ({"unsure_share": 0.0499, "wrong_share": 0.0999}, Grade.SURE),
        ({"unsure_share": 0.05, "wrong_share": 0.0}, Grade.LOOK),
        ({"unsure_share": 0.0, "wrong_share": 0.3}, Grade.DOUBTFUL),
        ({"unsure_share": 0.06, "wrong_share": 0.0, "disagreement": 0.2}, Grade.DOUBTFUL),
        ({}, Grade.SURE),
    ],
)
def test_the_worst_signal_decides(shares: dict[str, float], grade: Grade) -> None:
    assert grade_of(shares, RULE) is grade


def test_reasons_that_need_no_network() -> None:
    p, on = probability(), grid()
    found, ct = signals(p, on), body(on)
    beside = doubt_about(liver_of(p, on, ("a second object was left out",)), ct, found, RULE)
    assert (beside.grade, beside.reasons) == (Grade.LOOK, ())

    dark = replace(ct, hu=ct.hu.copy())
    dark.hu[10:16, 20:50, 20:70] = -80  # 6 of its 40 slices
    doubt = doubt_about(liver_of(p, on), dark, found, RULE)
    assert doubt.grade is Grade.LOOK
    assert "15 % of the outline is darker than 0 HU" in doubt.reasons[0]

    mirrored = grid(x_mm=120.0)
    affine = mirrored.affine.copy()
    affine[0, 2] = -1.5
    doubt = doubt_about(
        liver_of(p, Grid(SHAPE, affine)), Volume(ct.hu, Grid(SHAPE, affine)), found, RULE
    )
    assert doubt.grade is Grade.DOUBTFUL
    assert "lies on the patient's left" in doubt.reasons[0]
