"""What lies inside a skull is no liver, however much its brightness resembles one."""

from __future__ import annotations

import fill_voids
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from liver_unet.volume import box_of

# Voxels are joined two by two along each axis first: thin bone and sutures leave no gap then.
_JOINED = 2
# One axial slice through a brain. A kidney's bright rim holds less, and what is held by a ring
# around the whole patient (a frame, the scanner's bore) is more.
_BRAIN_CM2 = (60.0, 300.0)
# Ribs lay along 2 to 12 % of 17 livers' surfaces, with a heart full of contrast beside one along
# 17 %; a skull along 38 to 45 % of what networks found in half a brain, 51 to 56 % of all of it.
_MOST_ALONG_BONE = 0.3
_ALONG_MM = 4.0


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


def is_brain(found: NDArray[np.bool_], image: torch.Tensor, spacing_mm: float) -> bool:
    """Whether what was found in the image lies along bone as a brain does and no liver.

    A skull that an operation opened holds a brain that no ring of bone encloses.
    """
    return share_along_bone(found, image, spacing_mm) > _MOST_ALONG_BONE


def share_along_bone(found: NDArray[np.bool_], image: torch.Tensor, spacing_mm: float) -> float:
    """Return the share of an object's surface that has bone beside it.

    found: in the place of image (see without_brain), not empty. Where the scan ends is no surface.
    What is as bright as bone within the object, as lipiodol is, does not count.
    """
    reach = max(1, round(_ALONG_MM / (_JOINED * spacing_mm)))
    box = box_of(found, margin=_JOINED * (reach + 1))
    seen = torch.from_numpy(found[box]).to(image.device)
    bone = (image[box] >= 1) & ~seen
    joined = torch.stack([seen, bone])[:, None].float()
    joined = functional.max_pool3d(joined, _JOINED, ceil_mode=True)
    inside, bone = joined[:1], joined[1:]
    surface = (inside > 0) & (functional.max_pool3d(1 - inside, 3, stride=1, padding=1) > 0)
    near = functional.max_pool3d(bone, 2 * reach + 1, stride=1, padding=reach) > 0
    return float((surface & near).sum() / surface.sum().clamp(min=1))
