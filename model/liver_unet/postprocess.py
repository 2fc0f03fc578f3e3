"""From a raw probability to one liver: small objects away, holes closed, limits noticed."""

from __future__ import annotations

import cc3d
import fill_voids
import numpy as np
from numpy.typing import NDArray

from liver_unet.volume import Grid

# Below this there is nothing to plan on: a stray cluster, or a sliver at the edge of the scan. Seen
# where no liver was: 108 mL of bladder, 204 mL of a drawn neck. The smallest liver of the published
# study had 1120 mL.
SMALLEST_LIVER_ML = 300.0
# The fattiest livers come near to -30 HU, the fat around them is at -100.
DARKEST_LIVER_HU = -50.0
USUAL_LIVER_ML = (500.0, 5000.0)
# A second object of more than this, or of this share of the liver, is not left out without a word.
_SECOND_OBJECT_ML = 50.0
_SECOND_OBJECT_SHARE = 0.1


def is_too_dark(hu: NDArray[np.int16] | NDArray[np.float32]) -> bool:
    """Whether the voxels of an object, in HU, are fat or air and not a liver, however fatty."""
    return bool(np.median(hu) < DARKEST_LIVER_HU)


def largest_object(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest object of a mask; voxels that share a corner belong together."""
    labels = cc3d.largest_k(mask.view(np.uint8), k=1, connectivity=26)
    return np.asarray(labels).astype(bool)


def one_liver(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability with all but the largest object set to 0 and its holes to 1."""
    found = probability > 0.5
    largest = largest_object(found)
    filled = fill_voids.fill(largest)
    cleaned = np.where(found & ~largest, np.float32(0), probability)
    cleaned[filled & ~largest] = 1
    return cleaned


def second_object_warnings(
    found: NDArray[np.bool_], liver: NDArray[np.bool_], grid: Grid
) -> list[str]:
    """Say how large the second largest object is and where, as the patient's; both lie on grid."""
    second = largest_object(found & ~liver)
    second_ml, liver_ml = (float(np.count_nonzero(m)) * grid.voxel_ml for m in (second, liver))
    if second_ml <= min(_SECOND_OBJECT_ML, _SECOND_OBJECT_SHARE * liver_ml):
        return []
    centres_mm = [grid.to_mm(np.argwhere(mask).mean(axis=0)) for mask in (second, liver)]
    away_mm = centres_mm[0] - centres_mm[1]
    sides = (("to the right", "to the left"), ("in front", "behind"), ("below", "above"))
    ways = [
        f"{abs(mm):.0f} mm {side[int(mm > 0)]}"
        for mm, side in zip(away_mm, sides, strict=True)
        if abs(mm) >= 10
    ]
    return [
        f"a second object of {second_ml:.0f} mL was left out, {', '.join(ways) or 'close by'} "
        "(centre to centre): if it is liver too, the volume lacks it; check the outline"
    ]


def liver_warnings(
    mask: NDArray[np.bool_], box: tuple[slice, slice, slice], whole: Grid
) -> list[str]:
    """Say where the liver reaches the edge of the scan, and whether its volume is unusual.

    mask lies in box of the whole CT's grid. Ends are named as the patient's, by the affine.
    """
    warnings = []
    for axis, (part, size) in enumerate(zip(box, whole.shape, strict=True)):
        others = tuple(i for i in range(3) if i != axis)
        touched = np.asarray(mask.any(axis=others))
        if part.start == 0 and touched[0]:
            warnings.append(_cut(_end_name(whole, axis, -1)))
        if part.stop == size and touched[-1]:
            warnings.append(_cut(_end_name(whole, axis, +1)))
    liver_ml = float(mask.sum()) * whole.voxel_ml
    low, high = USUAL_LIVER_ML
    if not low <= liver_ml <= high:
        warnings.append(
            f"the liver measures {liver_ml:.0f} mL, outside the usual {low:.0f}-{high:.0f} mL: "
            "check the outline"
        )
    return warnings


def _cut(end: str) -> str:
    return f"liver touches the {end} of the field of view: volume is a lower bound"


def _end_name(grid: Grid, axis: int, sign: int) -> str:
    direction = sign * grid.affine[:3, axis] / grid.spacing_mm[axis]
    main = int(np.argmax(np.abs(direction)))
    names = (("right", "left"), ("front", "back"), ("bottom", "top"))
    return names[main][int(direction[main] > 0)]
