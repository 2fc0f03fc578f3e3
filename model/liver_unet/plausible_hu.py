"""Whether a volume can be a CT in HU: each slice an image, air or fat around tissue, a body's size.

The limits were set on 32 clinical CT (portal venous, arterial, none; soft and lung kernels; 30 of
them clipped on purpose at -100 to -210 HU) and 56 low-dose CT of PET examinations. In all of them
the darkest hundredth of what was measured ends at -100 HU or below, and the median of the body
lies between -82 and 54 HU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from liver_unet.model_errors import VolumeRefused
from liver_unet.neighbours import (
    check_repeats,
    check_turns,
    clipped_hu,
    holding,
    notes_on_order,
    notes_on_passes,
)
from liver_unet.volume import AIR_HU, AIRLIKE_HU, UPRIGHT_DEG, Grid, Volume

# Fat is at -100 HU. Where nothing is as dark, the intercept was lost or the values scaled.
_DARKEST_HU = -50
_NARROWEST_RANGE_HU = 100
_BODY_MEDIAN_HU = 150
_LEAST_BODY = 0.01
# From one slice to the next, of the mean and the darkest hundredth alike; in 16 clinical CT they
# change by up to 18 and 5. Where the field of view is narrow, the second falls as lung comes.
_LARGEST_STEP_HU = 300
# Above this the lowest value says that air is not what it should be; noise goes below -1000.
_CLIPPED_HU = -800
# The largest side of what is shown. No liver fits in less; no scanner's table is longer.
_SMALLEST_FIELD_MM, _LARGEST_FIELD_MM = 100.0, 2500.0
# About so many voxels along each axis are looked at for what the whole volume tells.
_SAMPLE = 64

_Hu = NDArray[np.int16] | NDArray[np.float32]


def check_hu(volume: Volume, slice_names: Sequence[str] = ()) -> list[str]:
    """Return warnings for the report; slice_names: what else to call each slice in a refusal.

    Raises VolumeRefused for what cannot be a CT in HU.
    """
    _check_field(volume.grid)
    sample = volume.hu[tuple(slice(None, None, max(1, n // _SAMPLE)) for n in volume.hu.shape)]
    measured = sample[sample > AIR_HU]
    if not measured.size:
        raise VolumeRefused("The images hold nothing but air; choose a series of CT images.")
    lowest_hu = float(measured.min())
    background_hu = max(AIRLIKE_HU, lowest_hu + 10)
    _check_range(measured, measured[measured > background_hu], sample.size)
    own: list[_Hu] = [volume.hu[index] for index in volume.own_slices]
    is_axial = _is_axial(volume.grid)
    empty = [index for index, one in enumerate(own) if _is_empty(one)]
    notes = _check_slices(own, empty, slice_names, background_hu, is_axial=is_axial)
    rows, columns = (max(1, n // _SAMPLE) for n in volume.hu.shape[1:])
    shown = {
        index: own[index][::rows, ::columns] for index in sorted(set(range(len(own))) - set(empty))
    }
    check_repeats(shown, own, slice_names)
    if is_axial:
        _check_steps(shown, len(own), slice_names)
        clipped = clipped_hu(shown)
        check_turns(clipped, slice_names)
        if volume.grid.lean_deg <= UPRIGHT_DEG:
            notes += notes_on_order(shown, clipped)
            notes += notes_on_passes(clipped)
    if lowest_hu > _CLIPPED_HU:
        notes.append(
            f"The lowest value is {lowest_hu:g} HU, and air is at -1000: the values were cut off "
            "there, and air, lung and fat may look alike, or they were scaled; check the outline "
            "against the original series."
        )
    return notes


def _check_field(grid: Grid) -> None:
    largest_mm = float((np.array(grid.shape) * grid.spacing_mm).max())
    if not _SMALLEST_FIELD_MM <= largest_mm <= _LARGEST_FIELD_MM:
        raise VolumeRefused(
            f"The images span {largest_mm:.4g} mm at most, which shows no abdomen: the voxel "
            "sizes are wrong; export the images again from their source."
        )


def _check_range(measured: _Hu, body: _Hu, looked_at: int) -> None:
    darkest, brightest = np.percentile(measured, [1, 99])
    if darkest > _DARKEST_HU:
        raise VolumeRefused(
            f"The values cannot be HU: nothing is as dark as air or fat (the darkest hundredth "
            f"ends at {darkest:.4g}). The rescale was lost or the values were scaled; choose the "
            "original images."
        )
    if brightest - darkest < _NARROWEST_RANGE_HU:
        raise VolumeRefused(
            f"The values cannot be HU: nearly all lie between {darkest:.4g} and {brightest:.4g}; "
            "choose the original images."
        )
    median = float(np.median(body)) if body.size >= _LEAST_BODY * looked_at else float("-inf")
    if abs(median) > _BODY_MEDIAN_HU:
        is_what = "there is no body" if np.isinf(median) else f"the body's median is {median:.4g}"
        raise VolumeRefused(
            f"The values cannot be HU: {is_what}, and soft tissue lies near 40. The rescale is "
            "wrong or the values were scaled; choose the original images."
        )


def _check_slices(
    hu: Sequence[_Hu],
    empty: Sequence[int],
    names: Sequence[str],
    background_hu: float,
    *,
    is_axial: bool,
) -> list[str]:
    """Refuse slices without an image, but for background at the ends; return a warning for that.

    Air alone is no image between axial slices; others may show the room between body and table.
    """
    if not empty:
        return []
    shown = sorted(set(range(len(hu))) - set(empty))
    first, last = (shown[0], shown[-1]) if shown else (len(hu), -1)
    filled = [index for index in empty if hu[index].max() > background_hu]
    wrong = sorted({i for i in empty if is_axial and first < i < last} | set(filled))
    if wrong:
        raise VolumeRefused(
            f"{holding(wrong, len(hu), names)} no image (one value, or air alone), so the body "
            "would seem to end there; send the complete series again."
        )
    blank = sum(bool(hu[index].max() == hu[index].min()) for index in empty)
    if is_axial and blank:
        return [f"At the ends of the scan {blank} slices hold one value and no image."]
    return []


def _check_steps(shown: Mapping[int, _Hu], count: int, names: Sequence[str]) -> None:
    """Refuse axial slices that lie higher than their neighbours, air and all, or lower."""
    levels = {index: _levels_hu(one) for index, one in shown.items()}
    for below, above in pairwise(levels):
        step_hu = np.abs(levels[above] - levels[below]).min()
        if step_hu > _LARGEST_STEP_HU:
            named = f" ({names[above]})" if names else ""
            raise VolumeRefused(
                f"The values jump by {step_hu:.0f} HU from slice {below + 1} to slice {above + 1} "
                f"of {count}{named}: one of them is not in HU; export the images again from their "
                "source."
            )


def _levels_hu(one: _Hu) -> NDArray[np.float64]:
    """The mean, and the darkest of what was measured."""
    measured = one[one > AIR_HU]
    darkest = np.percentile(measured, 1) if measured.size else AIR_HU
    return np.array([one.mean(dtype=np.float64), darkest])


def _is_axial(grid: Grid) -> bool:
    along_mm = grid.affine[:3, 0]
    return bool(abs(along_mm[2]) > np.linalg.norm(along_mm) / 2)


def _is_empty(one: _Hu) -> bool:
    """Whether a slice is of one value, or of air alone. Most are told by a part of their rows."""
    return _is_blank_or_air(one[:: max(1, len(one) // 16)]) and _is_blank_or_air(one)


def _is_blank_or_air(part: _Hu) -> bool:
    return bool(part.max() <= AIRLIKE_HU or part.max() == part.min())
