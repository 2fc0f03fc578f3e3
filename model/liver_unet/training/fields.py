"""Fields that paint what a patch shows: soft edges, what lies near, lumpy bodies."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.volume import Box

Voxel = tuple[int, int, int]
_LUMPS = 5
# How many of its radii a blob reaches at most: its longest axis, its lumps and its soft edge.
_REACH = 1.9
_NEAR_STEP_MM = 6.0


def softened(field: torch.Tensor) -> torch.Tensor:
    """As a scanner draws an edge: over three voxels along each axis."""
    one = field.float()[None, None]
    for kernel in ((3, 1, 1), (1, 3, 1), (1, 1, 3)):
        padding = tuple(k // 2 for k in kernel)
        one = functional.avg_pool3d(one, kernel, 1, padding, count_include_pad=False)
    return one[0, 0]


def near(mask: torch.Tensor, reach_mm: float, spacing_mm: float) -> torch.Tensor:
    """What lies within about reach_mm of a mask, itself included; seen in steps of some mm."""
    step = max(1, round(_NEAR_STEP_MM / spacing_mm))
    coarse = functional.max_pool3d(mask.float()[None, None], step, ceil_mode=True)
    for _ in range(max(1, round(reach_mm / (step * spacing_mm)))):
        coarse = functional.max_pool3d(coarse, 3, 1, 1)
    shape = tuple(mask.shape)
    shown = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)
    return shown[0, 0] > 0.5


def blob(
    shape: torch.Size, centre: Voxel, radius: float, numbers: Augmentation, chance: Chance
) -> tuple[Box, torch.Tensor]:
    """A lumpy ellipsoid: the box it lies in and its opacity there, 0 to 1; radius in voxels."""
    radii = radius * chance.numbers.uniform(*numbers.blob_axes_ratio, 3)
    parts, axes = [], []
    for middle, own, size in zip(centre, radii, shape, strict=True):
        reach = math.ceil(own * _REACH)
        part = slice(max(middle - reach, 0), min(middle + reach + 1, size))
        parts.append(part)
        axes.append((np.arange(part.start, part.stop) - middle) / own)
    z, y, x = axes
    squares = (z**2)[:, None, None] + (y**2)[:, None] + x**2
    knots = chance.smooth((1, _LUMPS, _LUMPS, _LUMPS), squares.shape)[0]
    away = torch.from_numpy(squares).to(knots).sqrt_()
    edge = chance.within(numbers.blob_edge_share)
    opacity = torch.sigmoid((1 - away - numbers.blob_lumps_share * knots) / edge)
    return (parts[0], parts[1], parts[2]), opacity


def rim(opacity: torch.Tensor) -> torch.Tensor:
    """1 in the middle of a blob's soft edge, 0 within and without."""
    return 4 * opacity * (1 - opacity)
