"""Where in a scan the liver is: coarse localisation in all of the body, then fine near it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from liver_unet.cover import Cover
from liver_unet.inference import Patches, evenly_apart
from liver_unet.liver import is_liver
from liver_unet.model import Model
from liver_unet.postprocess import Mask, largest_object
from liver_unet.volume import Box, box_of, widened

# How much smaller a fine network that looks for the liver itself sees the body: as small as the
# training has shown patients.
_SMALLER = 1.3
# Of the coarse network's patches, at least; by a half they see no better (DECISIONS.md, D-119).
_OVERLAP = 0.25
# The body is found on every fourth voxel along each axis.
_STEP = 4


@dataclass(frozen=True, eq=False)
class CoarseLook:
    """The largest object that a network sees in the body, shown smaller.

    body: its box of the image; nothing is looked at outside. probability, mask: (slice, row,
    column) within it, on coarser voxels.
    """

    body: Box
    probability: torch.Tensor
    mask: Mask

    def on_image(self, image: torch.Tensor) -> Mask:
        """The mask on the voxels of the image that was looked at."""
        found = np.zeros(tuple(image.shape), dtype=bool)
        mask = self.mask
        for axis, n in enumerate(found[self.body].shape):
            mask = mask.take(np.arange(n) * mask.shape[axis] // n, axis=axis)
        found[self.body] = mask
        return found

    def dice(self, liver: Mask) -> float:
        """How far a liver on the image agrees with it, on the coarser voxels."""
        inside = torch.from_numpy(liver[self.body]).float()[None, None]
        share = functional.interpolate(inside, self.mask.shape, mode="area")[0, 0].numpy()
        other = is_liver(share)
        both, either = float((other & self.mask).sum()), float(other.sum() + self.mask.sum())
        return 2 * both / max(1.0, either)


def coarse_localisation(
    image: torch.Tensor, fine: Model, coarse: Model | None, at: Callable[[float], None]
) -> CoarseLook | None:
    """Look for the liver in all of the body, which is shown smaller; None where there is no body.

    Without a coarse network the fine one looks, at patches side by side: they draw a liver poorly
    where they meet. It says where to look, not where the liver ends.
    """
    look = coarse or fine
    ratio = look.spec.spacing_mm / fine.spec.spacing_mm
    smaller = ratio if coarse else _SMALLER
    least = [round(n * smaller) if coarse else n for n in look.spec.patch]
    body = _body(image, least)
    if body is None:
        return None
    size = [max(1, round(n / smaller)) for n in image[body].shape]
    # Two voxels and more are averaged into one, as a thick slice does.
    shown = functional.interpolate(
        image[body][None, None], size, mode="area" if smaller >= 2 else "trilinear"
    )[0, 0]
    patches = look.patches(shown)
    boxes = evenly_apart(patches.padded_shape, patches.patch, _OVERLAP if coarse else 0.0)
    for done, _ in enumerate(patches.compute(boxes), start=1):
        at(done / len(boxes))
    probability = patches.probability()
    return CoarseLook(body, probability, largest_object(is_liver(probability.cpu().numpy())))


def fine_localisation(
    patches: Patches, seen: Mask, at: Callable[[float], None]
) -> tuple[torch.Tensor, Box, Mask]:
    """Compute the patches near the liver alone; what was seen says with which to begin.

    It goes on until all of the liver lies well inside a patch, so it is never cut. Return P(liver)
    in a box of the image, that box, and the liver on the whole image, which is empty where nothing
    is liver after all.
    """
    liver = seen
    cover = Cover(patches.padded_shape, patches.patch)
    computed = np.zeros(patches.shape, dtype=bool)
    done = 0
    while due := cover.patches_for(liver):
        for box in patches.compute(due):
            computed[box] = True
            done += 1
            at(done / cover.patches)
        region = box_of(computed)
        probability = patches.probability(region)
        liver = np.zeros(patches.shape, dtype=bool)
        liver[region] = largest_object(is_liver(probability.cpu().numpy()))
    return probability, region, liver


def _body(image: torch.Tensor, least: Sequence[int]) -> Box | None:
    """Return the box of the largest object that is not air; None where all is.

    At least so many voxels along each axis, as far as the image reaches. A table stays outside:
    what lies between it and the body is as good as air.
    """
    body = largest_object((image[::_STEP, ::_STEP, ::_STEP] > 0).cpu().numpy())
    if not body.any():
        return None
    z, y, x = (
        slice(max(0, (part.start - 1) * _STEP), min(size, (part.stop + 1) * _STEP))
        for part, size in zip(box_of(body), image.shape, strict=True)
    )
    return widened((z, y, x), least, image.shape)
