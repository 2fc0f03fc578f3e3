"""Where in a scan the liver is: coarse localisation in all of the body, then fine near it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from liver_unet.inference import Patches, Shape, liver_probability
from liver_unet.liver import is_liver
from liver_unet.postprocess import Mask, largest_object
from liver_unet.volume import Box, box_of

# How much smaller coarse localisation sees the body: as small as the training has shown patients.
_SMALLER = 1.3
# The body is found on every fourth voxel along each axis.
_STEP = 4
# A patch is computed where its middle, this much of it along each axis, meets the liver. The
# middles cover the image, so each voxel of the liver lies in one; what a patch says further out
# weighs little beside its neighbours'.
_MIDDLE = 0.5


def coarse_localisation(
    network: nn.Module,
    image: torch.Tensor,
    patch: Shape,
    precision: torch.dtype,
    at: Callable[[float], None],
) -> Mask:
    """Return, on the image, the largest object that patches side by side over the body show.

    The body is shown smaller, and patches draw a liver poorly where they meet: this says where to
    look, not where the liver ends.
    """
    found = np.zeros(tuple(image.shape), dtype=bool)
    body = _body(image, patch)
    if body is None:
        return found
    size = tuple(part.stop - part.start for part in body)
    smaller = [max(1, round(n / _SMALLER)) for n in size]
    shown = functional.interpolate(image[body][None, None], smaller, mode="trilinear")[0, 0]
    probability = liver_probability(
        network, shown, patch, precision=precision, overlap=False, progress=at
    )
    seen = largest_object(is_liver(probability.cpu().numpy()))
    nearest = [np.arange(n) * m // n for n, m in zip(size, smaller, strict=True)]
    found[body] = seen[np.ix_(*nearest)]
    return found


def fine_localisation(
    patches: Patches, seen: Mask, at: Callable[[float], None]
) -> tuple[torch.Tensor, Box, Mask]:
    """Compute the patches near the liver alone; what was seen says with which to begin.

    It goes on until every patch whose middle meets the liver has been computed, so the liver is
    never cut. Return P(liver) in a box of the image, that box, and the liver on the whole image,
    which is empty where nothing is liver after all.
    """
    liver = seen
    waiting = list(patches.boxes)
    computed = np.zeros(patches.shape, dtype=bool)
    while due := [box for box in waiting if liver[_middle(box, patches.shape)].any()]:
        for left, box in zip(reversed(range(len(due))), patches.compute(due), strict=True):
            waiting.remove(box)
            computed[box] = True
            done = len(patches.boxes) - len(waiting)
            at(done / (done + left))
        region = box_of(computed)
        probability = patches.probability(region)
        liver = np.zeros(patches.shape, dtype=bool)
        liver[region] = largest_object(is_liver(probability.cpu().numpy()))
    return probability, region, liver


def _body(image: torch.Tensor, patch: Shape) -> Box | None:
    """Return the box of the largest object that is not air; None where all is.

    At least a patch along each axis, as far as the image reaches. A table stays outside: what
    lies between it and the body is as good as air.
    """
    body = largest_object((image[::_STEP, ::_STEP, ::_STEP] > 0).cpu().numpy())
    if not body.any():
        return None
    parts = []
    for part, least, size in zip(box_of(body), patch, image.shape, strict=True):
        first, stop = max(0, (part.start - 1) * _STEP), min(size, (part.stop + 1) * _STEP)
        length = max(least, stop - first)
        first = max(0, min(first - (length - (stop - first)) // 2, size - length))
        parts.append(slice(first, min(size, first + length)))
    return parts[0], parts[1], parts[2]


def _middle(box: Box, shape: Shape) -> Box:
    """Return the middle of a patch; where the image ends, all up to there."""
    parts = []
    for part, size in zip(box, shape, strict=True):
        rim = int((part.stop - part.start) * (1 - _MIDDLE) / 2)
        first = part.start + rim if part.start > 0 else 0
        parts.append(slice(first, part.stop - rim if part.stop < size else size))
    return parts[0], parts[1], parts[2]
