"""What neighbouring slices tell of each other: one that repeats the other, or lies otherwise.

The limits were set on 32 clinical CT and 56 low-dose CT of PET examinations, as they are and with
slices repeated, mirrored, turned and moved; DECISIONS.md, D-152, has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from liver_unet.model_errors import VolumeRefused
from liver_unet.volume import AIR_HU

_Hu = NDArray[np.int16] | NDArray[np.float32]
_Pairs = Sequence[tuple[int, int]]

# The mean difference of neighbours against the median of all; in 32 clinical CT it is at most 2.3
# times that. Where slices are sorted by their names (1, 10, 11, 2) it comes to 5 times.
_MOST_UNLIKE = 3
_DIFFERENCE_HU = 20
# What is left of the squared difference of neighbours when one is put another way round: 0.59 of
# it or less where that puts them right, else 1.27 times as much or more.
_FITS_BETTER = 0.8
# When one is moved: 0.3 or less where that puts them right; else none fitted better at all.
_FITS_ELSEWHERE = 0.5
# In sixty-fourths of the image. Patients move by less from one slice to the next.
_FARTHEST = 2
# How far apart slices are that lie two or three on, against those between. In 86 clinical CT of one
# pass 1.37 times as far or more, where noise is all 1; of two breaths in turn 0.59 to 1.09.
_INTERLEAVED, _FEWEST_PAIRS = 0.95, 7
# Metal and its streaks would outweigh all else.
_BRIGHTEST_HU = 400

# So many passes may have been interleaved, and which slices then are of one of them.
PASSES_IN_TURN: Mapping[int, str] = {2: "second", 3: "third"}
MAY_BE_INTERLEAVED = (
    "the slices of several passes may be interleaved, and the volume of no patient; check the CT, "
    "and send each pass as its own series."
)

Clipped = Mapping[int, NDArray[np.float32]]


def check_repeats(shown: Mapping[int, _Hu], hu: Sequence[_Hu], names: Sequence[str]) -> None:
    """Refuse slices that hold the very pixels of the slice before, as no scanner measures them.

    shown: a part of each slice that holds an image.
    """
    repeated = [
        above
        for below, above in pairwise(shown)
        if np.array_equal(shown[below], shown[above]) and np.array_equal(hu[below], hu[above])
    ]
    if repeated:
        raise VolumeRefused(
            f"{holding(repeated, len(hu), names)} the very pixels of the slice before: "
            "slices were copied where others belong, or the stack was drawn out; export the images "
            "again from their source."
        )


def clipped_hu(shown: Mapping[int, _Hu]) -> Clipped:
    """A part of each slice as neighbours are compared, by the slice's number."""
    return {
        index: np.clip(one, AIR_HU, _BRIGHTEST_HU).astype(np.float32)
        for index, one in shown.items()
    }


def check_turns(clipped: Clipped, names: Sequence[str]) -> None:
    """Refuse axial neighbours of which one is mirrored or turned."""
    odd = [
        (below, above)
        for below, above in pairwise(clipped)
        if min(_apart(turned, clipped[below]) for turned in _turns(clipped[above]))
        < min(_FITS_BETTER * _apart(clipped[above], clipped[below]), _chance(clipped, below, above))
    ]
    if odd:
        named = f" ({names[odd[0][1]]} is slice {odd[0][1] + 1})" if names else ""
        raise VolumeRefused(
            f"Slices {_told(odd)}{named} lie mirrored or turned against each other: some are "
            "stored another way round than the rest; export the images again from their source."
        )


def notes_on_order(shown: Mapping[int, _Hu], clipped: Clipped) -> list[str]:
    """Warn of axial neighbours that differ far more than others do, or would fit otherwise."""
    moved = [pair for pair in pairwise(clipped) if _fits_elsewhere(clipped, *pair)]
    notes = []
    if odd := [pair for pair in _unlike(shown) if pair not in moved]:
        notes.append(
            f"Slices {_told(odd)} differ far more than other neighbours: slices may be "
            "in a wrong order, damaged or of another breath; check the outline there."
        )
    if moved:
        notes.append(
            f"Slices {_told(moved)} would fit far better if one were moved within its plane: the "
            "patient moved, or an image was shifted; check the outline there."
        )
    return notes


def notes_on_passes(clipped: Clipped) -> list[str]:
    """Warn where slices are more like those two or three on than like their neighbours."""
    stack = list(clipped.values())
    next_hu = np.array([np.abs(one - other).mean() for one, other in pairwise(stack)])
    likeness = {passes: _far_apart(stack, next_hu, passes) for passes in PASSES_IN_TURN}
    passes = min(likeness, key=lambda one: likeness[one])
    if likeness[passes] >= _INTERLEAVED:
        return []
    return [
        f"Every {PASSES_IN_TURN[passes]} slice is more like the one {passes} slices on than like "
        f"its neighbour: {MAY_BE_INTERLEAVED}"
    ]


def _far_apart(
    stack: Sequence[NDArray[np.float32]], next_hu: NDArray[np.float64], passes: int
) -> float:
    """How much slices differ so many on, in shares of what those between do; inf of too few."""
    later = zip(stack, stack[passes:], strict=False)
    apart_hu = np.array([np.abs(one - other).mean() for one, other in later])
    if len(apart_hu) < _FEWEST_PAIRS:
        return float("inf")
    between_hu = np.convolve(next_hu, np.ones(passes) / passes, "valid")
    return float(np.median(apart_hu / np.maximum(between_hu, 1e-9)))


def holding(indices: Sequence[int], count: int, names: Sequence[str]) -> str:
    """The beginning of a sentence on what these slices hold."""
    numbers = ", ".join(str(index + 1) for index in indices[:5])
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    named = f" ({names[indices[0]]})" if names else ""
    if len(indices) == 1:
        return f"Slice {numbers} of {count}{named} holds"
    return f"Slices {numbers}{more} of {count}{named.replace('(', '(the first is ', 1)} hold"


def _unlike(shown: Mapping[int, _Hu]) -> _Pairs:
    steps = {
        (below, above): float(np.abs(shown[above].astype(np.float32) - shown[below]).mean())
        for below, above in pairwise(shown)
    }
    if not steps:
        return []
    most_hu = max(_DIFFERENCE_HU, _MOST_UNLIKE * float(np.median(list(steps.values()))))
    return [pair for pair, hu in steps.items() if hu > most_hu]


def _fits_elsewhere(clipped: Clipped, below: int, above: int) -> bool:
    """Whether a neighbour fits far better if moved, what leaves at one side coming in at the
    other."""
    one, other = clipped[below], clipped[above]
    products = np.fft.irfft2(np.fft.rfft2(one).conj() * np.fft.rfft2(other), one.shape)
    apart = (np.square(one).sum() + np.square(other).sum() - 2 * products) / one.size
    place = np.unravel_index(int(np.argmin(apart)), one.shape)
    far = max(min(n, size - n) * 64 / size for n, size in zip(place, one.shape, strict=True))
    least = min(_FITS_ELSEWHERE * float(apart[0, 0]), _chance(clipped, below, above))
    return bool(far >= _FARTHEST and apart.min() < least)


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.square(one - other).mean())


def _chance(clipped: Clipped, below: int, above: int) -> float:
    """Half of how far apart they would be if they had nothing in common: what is not nearer shows
    no body twice."""
    return float(clipped[below].var() + clipped[above].var()) / 2


def _turns(one: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    rows, columns = one.shape
    ways = [one, one[::-1], one[:, ::-1], one[::-1, ::-1]]
    yield from ways[1:]
    if rows == columns:
        yield from (way.T for way in ways)


def _told(pairs: _Pairs) -> str:
    more = f" and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
    return ", ".join(f"{below + 1} and {above + 1}" for below, above in pairs[:3]) + more
