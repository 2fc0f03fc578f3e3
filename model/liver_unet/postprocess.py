"""From what a network found to one liver on the CT, or to why it is none."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import fill_voids
import numpy as np
import torch
from numpy.typing import NDArray

from liver_unet.liver import Liver, NoLiver, is_liver
from liver_unet.resample import resample
from liver_unet.skull import is_brain
from liver_unet.stages import Stages
from liver_unet.volume import Box, Grid, Volume, box_of

Mask = NDArray[np.bool_]

# Below this there is nothing to plan on: a stray cluster, or a sliver at the edge of the scan. Seen
# where no liver was: 108 mL of bladder, 204 mL of a drawn neck. The smallest liver of the published
# study had 1120 mL.
SMALLEST_LIVER_ML = 300.0
# The fattiest livers come near to -30 HU, the fat around them is at -100.
DARKEST_LIVER_HU = -50.0
# A second object of more than this, or of this share of the liver, is not left out without a word.
_SECOND_OBJECT_ML = 50.0
_SECOND_OBJECT_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Found:
    """What may be a liver, on the model's grid; arrays are (slice, row, column).

    image: what the network was shown, on grid. probability: P(liver) in box of it. mask: the
    object, on all of it; not empty.
    """

    image: torch.Tensor
    grid: Grid
    probability: torch.Tensor
    box: Box
    mask: Mask


def outline(found: Found, ct: Volume, stages: Stages) -> Liver | NoLiver:
    """Return what was found as a liver on the CT's own grid, if it may be one."""
    with stages("back to the CT grid"):
        # One of the model's voxels wider on every side.
        corners_mm = found.grid.cropped(box_of(found.mask)).corners_mm(beyond=1.5)
        box = ct.grid.box_around(corners_mm)
        seen = found.grid.cropped(found.box)
        on_ct = resample(found.probability, seen, ct.grid.cropped(box), fill=0.0).cpu().numpy()
    with stages("clean"):
        beside = second_object_warnings(
            is_liver(found.probability.cpu().numpy()), found.mask[found.box], seen
        )
        keep_one_liver(on_ct)
        liver = Liver(on_ct, box, ct.grid, tuple(beside))
        return _why_none(liver, found, ct) or liver


def _why_none(liver: Liver, found: Found, ct: Volume) -> NoLiver | None:
    reason = ""
    if is_brain(found.mask, found.image, float(found.grid.spacing_mm[0])):
        reason = "what was seen lies along bone, as a brain does"
    elif liver.volume_ml < SMALLEST_LIVER_ML:
        reason = f"what was seen measures less than {SMALLEST_LIVER_ML:.0f} mL"
    elif is_too_dark(ct.hu[liver.box][liver.mask]):
        reason = "what was seen is as dark as fat"
    return NoLiver(reason, liver.volume_ml) if reason else None


def is_too_dark(hu: NDArray[np.int16] | NDArray[np.float32]) -> bool:
    """Whether the voxels of an object, in HU, are fat or air and not a liver, however fatty."""
    return bool(np.median(hu) < DARKEST_LIVER_HU)


def largest_object(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest object of a mask; voxels that share a corner belong together."""
    labels = cc3d.largest_k(mask.view(np.uint8), k=1, connectivity=26)
    return np.asarray(labels).astype(bool)


def keep_one_liver(probability: NDArray[np.float32]) -> None:
    """Set all but the largest object to 0 and its holes to 1, in place: it is as large as a CT."""
    found = is_liver(probability)
    largest = largest_object(found)
    probability[found & ~largest] = 0
    probability[fill_voids.fill(largest) & ~largest] = 1


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
