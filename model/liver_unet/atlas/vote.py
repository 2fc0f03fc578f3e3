"""From a CT and a library of atlases to a liver: register, choose, deform, vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage

from liver_unet.atlas import registration
from liver_unet.atlas.library import SPACING_MM, WINDOW_HU, Atlas, at_atlas_spacing
from liver_unet.atlas.registration import Image, Transform
from liver_unet.liver import is_liver
from liver_unet.model_errors import AtlasRefused
from liver_unet.postprocess import keep_one_liver
from liver_unet.resample import resample
from liver_unet.volume import Volume, box_of

# Those whose bodies fit best say where the liver is; of these the nearest are deformed and vote.
BODIES = 8
VOTERS = 5
# Where so many of them have their liver, and this far around.
_SHARE = 0.25
_BOX_MARGIN_MM = 21.0
_REGION_MARGIN_MM = 12.0
# How far around a voxel two CTs are compared, and the squared difference in HU that is noise.
_LOCAL_MM = 9.0
_NOISE_HU2 = 100.0
_NOTHING_FITS = "no atlas could be aligned with this CT: is it an abdomen?"

Mask = NDArray[np.bool_]


def outline(volume: Volume, library: Sequence[Atlas]) -> Mask:
    """Return the liver on the CT's own grid (slice, row, column).

    Affine onto all, deformable onto the five nearest by affine similarity around the liver, then a
    vote in which each counts more where its CT looks more like this one. Raises AtlasRefused.
    """
    fixed = at_atlas_spacing(volume)
    if not (fixed.hu > registration.BODY_HU).any():
        raise AtlasRefused(_NOTHING_FITS)
    whole = registration.to_image(fixed.hu, fixed.grid)
    placed = [one for atlas in library if (one := _placed(whole, atlas))]
    bodies = _most_alike(placed, whole, fixed.hu > registration.BODY_HU, BODIES)
    box = box_of(_shared_liver(bodies, whole), margin=round(_BOX_MARGIN_MM / SPACING_MM))
    part = fixed.grid.cropped(box)
    here = registration.to_image(fixed.hu[box], part)
    aligned = [
        replace(one, transform=registration.affine_here(here, one.hu, one.transform))
        for one in bodies
    ]
    steps = round(_REGION_MARGIN_MM / SPACING_MM)
    region = ndimage.binary_dilation(_shared_liver(aligned, here), iterations=steps)
    voters = [
        replace(one, transform=registration.deformed(here, one.hu, one.transform))
        for one in _most_alike(aligned, here, region, VOTERS)
    ]
    on_ct = resample(torch.from_numpy(_vote(voters, here)), part, volume.grid, fill=0.0).numpy()
    keep_one_liver(on_ct)
    return is_liver(on_ct)


@dataclass(frozen=True, eq=False)
class _Placed:
    """An atlas, and where it lies: transform takes points of the new CT to its own."""

    hu: Image
    liver: Image
    transform: Transform

    def hu_on(self, image: Image) -> NDArray[np.float32]:
        moved = registration.moved(self.hu, image, self.transform, WINDOW_HU[0])
        return np.asarray(sitk.GetArrayFromImage(moved))

    def liver_on(self, image: Image) -> NDArray[np.float32]:
        moved = registration.moved(self.liver, image, self.transform, 0.0)
        return np.asarray(sitk.GetArrayFromImage(moved))


def _placed(image: Image, atlas: Atlas) -> _Placed | None:
    hu = registration.to_image(atlas.volume.hu, atlas.volume.grid)
    liver = registration.to_image(atlas.liver.astype(np.float32), atlas.volume.grid)
    transform = registration.affine(image, hu)
    return None if transform is None else _Placed(hu, liver, transform)


def _most_alike(
    candidates: Sequence[_Placed], image: Image, region: Mask, count: int
) -> list[_Placed]:
    """Those whose CT correlates best with the image in a region."""
    here = sitk.GetArrayViewFromImage(image)[region]

    def likeness(one: _Placed) -> float:
        return float(np.nan_to_num(np.corrcoef(here, one.hu_on(image)[region])[0, 1]))

    return sorted(candidates, key=likeness, reverse=True)[:count]


def _shared_liver(candidates: Sequence[_Placed], image: Image) -> Mask:
    """Where at least a quarter of them have their liver."""
    if not candidates:
        raise AtlasRefused(_NOTHING_FITS)
    mean = np.mean([one.liver_on(image) for one in candidates], axis=0)
    shared = np.asarray(mean > _SHARE)
    if not shared.any():
        raise AtlasRefused(_NOTHING_FITS)
    return shared


def _vote(voters: Sequence[_Placed], image: Image) -> NDArray[np.float32]:
    """Return the share of the votes for liver, each weighted by its local likeness."""
    here = sitk.GetArrayViewFromImage(image)
    votes = np.zeros(here.shape, dtype=np.float32)
    weights = np.zeros(here.shape, dtype=np.float32)
    for one in voters:
        apart = ndimage.gaussian_filter((one.hu_on(image) - here) ** 2, _LOCAL_MM / SPACING_MM)
        weight = 1 / (apart + _NOISE_HU2)
        votes += weight * one.liver_on(image)
        weights += weight
    return np.asarray(votes / weights)
