"""Slices in runs of different spacing find their planes; missing ones are never taken for a run."""

from __future__ import annotations

from itertools import accumulate, pairwise
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orthanc_liver.sirt.inputs import ActivityRefused
from orthanc_liver.sirt.roi_volume import Slices
from orthanc_liver.sirt.slice_places import expected_gaps_mm, line_through, places_of, tolerance_mm

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACINGS_MM = (0.5, 0.625, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0, 10.0)
RUNS = st.lists(st.tuples(st.integers(4, 40), st.sampled_from(SPACINGS_MM)), min_size=2, max_size=4)


def heights(runs: list[tuple[int, float]], start: float = 0.0) -> list[float]:
    gaps = [spacing for count, spacing in runs for _ in range(count)]
    return list(accumulate(gaps, initial=start))


def slices_at(offsets: list[float]) -> Slices:
    return Slices.of(UPRIGHT, [(0.0, 0.0, height) for height in offsets])


def is_even(places: list[int]) -> bool:
    return places == list(range(len(places)))


def test_forty_of_three_millimetres_then_twenty_of_six() -> None:
    assert places_of(heights([(39, 3.0), (20, 6.0)])) == [*range(40), *range(41, 80, 2)]
    # 3 and 5 mm have 1 mm in common
    assert places_of(heights([(4, 3.0), (4, 5.0)])) == [0, 3, 6, 9, 12, 17, 22, 27, 32]


@given(runs=RUNS, start=st.floats(-900, 900), chance=st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_every_slice_lies_where_its_place_says(
    runs: list[tuple[int, float]], start: float, chance: Random
) -> None:
    """Law: with positions rounded, places tell the true gaps, or are left for the refusal."""
    assume(all(one[1] != other[1] for one, other in pairwise(runs)))
    exact, finest = heights(runs, start), min(spacing for _, spacing in runs)
    rounded = [height + tolerance_mm(finest) * chance.uniform(-0.4, 0.4) for height in exact]
    places = places_of(rounded)
    if is_even(places):
        # 1.25 beside 10 mm would do, 0.625 beside 0.5 is told from rounding by nobody
        assert finest < 1 or any(spacing % finest for _, spacing in runs)
        return
    line, slices = line_through(rounded, places), slices_at(rounded)
    assert line.off_mm <= tolerance_mm(finest)
    # Either end of a run lies as near its plane, and was rounded; the shortest has four gaps.
    off_mm = 2 * 1.4 * tolerance_mm(finest) / 4
    for (below, above), (low, high) in zip(pairwise(places), pairwise(exact), strict=True):
        assert (above - below) * line.step_mm == pytest.approx(high - low, abs=off_mm)
    gaps = [high - low for low, high in pairwise(exact)]
    means = [(below + above) / 2 for below, above in pairwise(gaps)]
    assert [slices.thickness_mm(n) for n in range(1, len(gaps))] == pytest.approx(means, abs=off_mm)


@given(runs=RUNS, which=st.integers(1, 60), wide=st.integers(2, 4))
def test_a_slice_that_is_missing_is_refused(
    runs: list[tuple[int, float]], which: int, wide: int
) -> None:
    """Law: whatever the runs, one inner slice or some in a row left out make no run."""
    whole = heights(runs)
    first = 1 + which % (len(whole) - 1 - wide)
    left = whole[:first] + whole[first + wide - 1 :]
    gaps = [above - below for below, above in pairwise(left)]
    assume(gaps[first - 1] not in (gaps[first - 2 : first - 1] + gaps[first : first + 1]))
    with pytest.raises(ActivityRefused, match="not evenly spaced"):
        slices_at(left)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_than_five_slices_are_no_run(count: int) -> None:
    for runs in ([(20, 3.0), (count, 6.0)], [(count, 6.0), (20, 3.0)]):
        with pytest.raises(ActivityRefused, match="not evenly spaced"):
            slices_at(heights(runs))
    slices_at(heights([(20, 3.0), (4, 6.0)]))


def test_spacings_that_have_too_little_in_common_are_refused() -> None:
    with pytest.raises(ActivityRefused, match="not evenly spaced"):
        slices_at(heights([(20, 3.0), (20, 5.17)]))


def test_what_a_gap_should_be_is_what_the_nearest_run_has() -> None:
    offsets = heights([(10, 3.0), (1, 6.0), (10, 3.0), (8, 6.0), (1, 12.0), (8, 6.0)])
    assert expected_gaps_mm(offsets) == [3.0] * 21 + [6.0] * 17
    assert expected_gaps_mm([0, 4, 12]) == [4, 4]


def test_volume_and_place_in_a_ct_of_two_runs() -> None:
    slices = slices_at(heights([(5, 2.0), (5, 4.0)]))
    assert [slices.thickness_mm(n) for n in (0, 4, 5, 6, 10)] == [2, 2, 3, 4, 4]
    assert slices.nearest([(0.0, 0.0, 14.0)] * 3) == 6
    with pytest.raises(ActivityRefused, match=r"1\.00 mm off"):
        slices.nearest([(0.0, 0.0, 15.0)] * 3)
    assert slices.nearest([(0.0, 0.0, 32.1)] * 3) is None
    assert slices.nearest([(0.0, 0.0, -1.1)] * 3) is None
