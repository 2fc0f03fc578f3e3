"""More than one look at the same liver: where they differ, their mean is nearer the truth.

Where an image misleads a network, it seldom misleads it in the same way at another size, nor the
coarse network with it. Along the surface the first look, at the finest voxels, knows best.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from liver_unet.cover import Cover
from liver_unet.liver import is_liver
from liver_unet.localise import CoarseLook
from liver_unet.model import Model
from liver_unet.postprocess import Mask, largest_object
from liver_unet.resample import resample
from liver_unet.volume import Box, Grid, box_of, widened

# How much smaller the fine network is shown the liver again, and how much of what lies around it.
_SMALLER = 1.6
_AROUND_MM = 30.0
# What a cube of so many voxels fits into is more than the surface; beyond it by so many, so that
# the change lies where all agree.
_THICK_VOXELS, _BEYOND_VOXELS = 3, 2


def mean_of_looks(
    image: torch.Tensor,
    grid: Grid,
    fine: Model,
    coarse: CoarseLook,
    first: tuple[torch.Tensor, Box, Mask],
    at: Callable[[float], None],
) -> tuple[torch.Tensor, Mask]:
    """Return P(liver), in the box of a first fine look, and the liver on the whole image, which may
    be empty: what the first look said, but where it is thickly another liver than the mean of it,
    of a second look at the liver shown smaller, and of the coarse one, that mean.

    image: as it was looked at, on grid. first: as fine_localisation returns it.
    """
    probability, box, mask = first
    seen = mask | coarse.on_image(image)
    near = _near(seen, grid, fine)
    there = grid.cropped(near)
    z, y, x = (max(1, round(n / _SMALLER)) for n in there.shape)
    smaller = there.resized((z, y, x))
    patches = fine.patches(resample(image[near], there, smaller, fill=0.0))
    due = Cover(patches.padded_shape, patches.patch).patches_for(_shown(seen[near], (z, y, x)))
    for done, _ in enumerate(patches.compute(due), start=1):
        at(done / len(due))
    second = patches.probability()
    _, rows, columns = coarse.probability.shape
    body = grid.cropped(coarse.body).resized((len(coarse.probability), rows, columns))
    found = torch.zeros_like(image)
    found[box] = probability
    mean = found[near] + resample(second, smaller, there, fill=0.0)
    mean = (mean + resample(coarse.probability, body, there, fill=0.0)) / 3
    found[near] = torch.where(_differ(found[near], mean), mean, found[near])
    liver = np.zeros(mask.shape, dtype=bool)
    liver[box] = largest_object(is_liver(found[box].cpu().numpy()))
    return found[box], liver


def _shown(seen: Mask, size: tuple[int, int, int]) -> Mask:
    """On coarser voxels, any of which that holds some."""
    some = functional.adaptive_max_pool3d(torch.from_numpy(seen).float()[None], size)[0]
    return np.asarray(some.numpy() > 0)


def _differ(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Where two probabilities are thickly another liver, and a little beyond."""
    differ = is_liver(one.cpu().numpy()) != is_liver(other.cpu().numpy())
    thick = ndimage.binary_opening(differ, np.ones((_THICK_VOXELS,) * 3, dtype=bool))
    beyond = ndimage.binary_dilation(thick, iterations=_BEYOND_VOXELS)
    return torch.from_numpy(beyond).to(one.device)


def _near(seen: Mask, grid: Grid, fine: Model) -> Box:
    """The box around what was seen; no smaller than the fine network's patch, shown smaller."""
    least = [round(n * _SMALLER) for n in fine.spec.patch]
    around = round(_AROUND_MM / float(grid.spacing_mm[0]))
    return widened(box_of(seen, margin=around), least, grid.shape)
