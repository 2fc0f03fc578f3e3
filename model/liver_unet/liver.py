"""What counts as liver, and what a search for one comes to: the liver, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from liver_unet.grade import Doubt
from liver_unet.volume import Box, Grid

# The network's class.
LIVER = 1
# The liver's border runs where its probability, or the share of it in a voxel, is so much.
BORDER = 0.5
NOTHING_SEEN = "nothing that could be one was seen"
# Beyond these an outline is of something else, whoever drew it.
_LEAST_ML, _MOST_OF_IMAGE = 20.0, 0.6


def is_liver(probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a probability of liver, or the share of it in a voxel, is enough."""
    return probability > BORDER


def first_gap(mask: NDArray[np.bool_]) -> int | None:
    """The first slice without a pixel between slices with some."""
    outlined = np.flatnonzero(mask.any(axis=(1, 2)))
    gaps = np.setdiff1d(np.arange(outlined[0], outlined[-1]), outlined)
    return int(gaps[0]) if len(gaps) else None


def no_liver_because(mask: NDArray[np.bool_], grid: Grid) -> str:
    """Why a given outline cannot be a liver, to stand after its file's name; "" where it can."""
    volume_ml = float(np.count_nonzero(mask)) * grid.voxel_ml
    if not volume_ml:
        return "is empty: it outlines no liver"
    if volume_ml < _LEAST_ML:
        return f"outlines {volume_ml:.2f} mL, which is no liver"
    if mask.mean() > _MOST_OF_IMAGE:
        return f"outlines {100 * mask.mean():.0f} % of the image, which is no liver"
    return ""


@dataclass(frozen=True)
class NoLiver:
    """reason: a sentence's part for the physician, to stand after "no liver found:".

    seen_ml: of the object that came nearest to being one; 0 where there was none.
    """

    reason: str
    seen_ml: float


@dataclass(frozen=True, eq=False)
class Unsure:
    """Where to look; mask: (slice, row, column) on grid, which is coarser than the CT's."""

    mask: NDArray[np.bool_]
    grid: Grid


@dataclass(frozen=True, eq=False)
class Liver:
    """A liver on the CT's own grid.

    probability: (slice, row, column) float32 within box of that grid; the liver is where it
    exceeds one half, one object without holes. left_out: a sentence for what else looked like one.
    doubt: None where nobody asked the networks. unsure: None where they are nowhere.
    """

    probability: NDArray[np.float32]
    box: Box
    ct_grid: Grid
    left_out: tuple[str, ...] = ()
    doubt: Doubt | None = None
    unsure: Unsure | None = None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        return is_liver(self.probability)

    @property
    def grid(self) -> Grid:
        """The grid of probability and mask."""
        return self.ct_grid.cropped(self.box)

    def mask_on_ct(self) -> NDArray[np.bool_]:
        """The mask on the whole CT's grid."""
        whole = np.zeros(self.ct_grid.shape, dtype=bool)
        whole[self.box] = self.mask
        return whole

    @cached_property
    def volume_ml(self) -> float:
        return float(np.count_nonzero(self.mask)) * self.ct_grid.voxel_ml

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Reasons for doubt, what was left out, and where the liver reaches the edge of the scan;
        ends are named as the patient's."""
        ends = []
        for axis, (part, size) in enumerate(zip(self.box, self.ct_grid.shape, strict=True)):
            if part.start == 0 and self.mask.take(0, axis).any():
                ends.append(end_name(self.ct_grid, axis, -1))
            if part.stop == size and self.mask.take(-1, axis).any():
                ends.append(end_name(self.ct_grid, axis, +1))
        reasons = self.doubt.reasons if self.doubt else ()
        touched = [
            f"liver touches the {end} of the field of view: volume is a lower bound" for end in ends
        ]
        return (*reasons, *self.left_out, *touched)


def end_name(grid: Grid, axis: int, sign: int) -> str:
    """The patient's side towards which an axis of a grid leads; sign -1: from which it comes."""
    direction = sign * grid.affine[:3, axis] / grid.spacing_mm[axis]
    main = int(np.argmax(np.abs(direction)))
    names = (("right", "left"), ("front", "back"), ("bottom", "top"))
    return names[main][int(direction[main] > 0)]
