"""What lies inside a skull is no liver, however much its brightness resembles one."""

from __future__ import annotations

import fill_voids
import numpy as np
import torch
from torch.nn import functional

# Voxels are joined two by two along each axis first: thin bone and sutures leave no gap then.
_JOINED = 2
# One axial slice through a brain. A kidney's bright rim holds less, and what is held by a ring
# around the whole patient (a frame, the scanner's bore) is more.
_BRAIN_CM2 = (60.0, 300.0)


def without_brain(image: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """Return the image with air in place of what bone encloses in an axial slice.

    image: (slice, row, column), upright, cubic voxels of spacing_mm; 1 is bone or brighter. No ring
    of bone closes around a liver: ribs cross an axial slice one by one.
    """
    bone = functional.max_pool3d((image >= 1)[None, None].float(), _JOINED, ceil_mode=True)[0, 0]
    bright = bone.cpu().numpy() > 0
    voxel_cm2 = (_JOINED * spacing_mm / 10) ** 2
    enclosed = np.zeros_like(bright)
    for ring, inside in zip(bright, enclosed, strict=True):
        held = fill_voids.fill(ring) & ~ring
        if _BRAIN_CM2[0] <= np.count_nonzero(held) * voxel_cm2 <= _BRAIN_CM2[1]:
            inside[:] = held
    if not enclosed.any():
        return image
    nearest = np.ix_(*(np.arange(n) // _JOINED for n in image.shape))
    blank = torch.from_numpy(enclosed[nearest]).to(image.device)
    return image.masked_fill(blank, 0.0)
