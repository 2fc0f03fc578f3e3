"""Tumours, cysts and treated areas in the liver, and masses against it."""

from __future__ import annotations

import torch

from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.fields import blob, near, rim
from liver_unet.training.geometry import Patch
from liver_unet.training.tissues import OUTSIDE


def add_lesions(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Within the liver, and liver to the network."""
    if not chance.happens(numbers.lesions):
        return
    for _ in range(chance.whole(numbers.lesion_count)):
        centre = chance.voxel_of(patch.liver)
        if centre is None:
            return
        radius_mm = chance.ratio(numbers.lesion_radius_mm)
        box, opacity = blob(patch.hu.shape, centre, radius_mm / patch.spacing_mm, numbers, chance)
        of_any = chance.happens(numbers.lesion_any)
        change = opacity * chance.within(numbers.lesion_any_hu if of_any else numbers.lesion_hu)
        if chance.happens(numbers.lesion_rim):
            change += rim(opacity) * chance.within(numbers.lesion_rim_hu)
        patch.hu[box] += change * patch.liver[box]


def add_mass(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Against the liver, which keeps its shape, and not liver to the network."""
    if not chance.happens(numbers.mass) or not bool(patch.liver.any()):
        return
    free = ~patch.liver & (patch.tissue != OUTSIDE)
    centre = chance.voxel_of(free & near(patch.liver, numbers.mass_within_mm, patch.spacing_mm))
    if centre is None:
        return
    radius = chance.within(numbers.mass_radius_mm) / patch.spacing_mm
    box, opacity = blob(patch.hu.shape, centre, radius, numbers, chance)
    mass_hu = chance.within(numbers.mass_hu)
    if chance.happens(numbers.mass_like_liver):
        liver_hu = float(patch.hu[patch.liver].mean())
        mass_hu = liver_hu - chance.within(numbers.mass_darker_hu)
    mass = mass_hu + numbers.mass_texture_hu * chance.noise(*opacity.shape)
    if chance.happens(numbers.mass_rim):
        mass += rim(opacity) * chance.within(numbers.mass_rim_hu)
    patch.hu[box] = torch.lerp(patch.hu[box], mass, opacity * free[box])
