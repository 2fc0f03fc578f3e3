"""Fluid where there was none: around a lung, in the belly, in the stomach; and lung as it is."""

from __future__ import annotations

import torch

from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.fields import near, softened
from liver_unet.training.geometry import Patch
from liver_unet.training.tissues import LUNG, REST, STOMACH

_KNOTS = (1, 4, 4, 4)
# How oblique the surface of fluid lies, in rows a slice (standard deviation).
_SLOPE = 0.1


def fill_chest(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Pleural effusion, at times with collapsed lung in it; else, at times, lung full of air."""
    effusion = chance.happens(numbers.effusion)
    aerated = not effusion and chance.happens(numbers.aerated)
    if not effusion and not aerated:
        return
    lung = patch.tissue == LUNG
    if not bool(lung.any()):
        return
    if aerated:
        air = chance.within(numbers.aerated_hu)
        texture = numbers.aerated_texture_hu * chance.noise(*lung.shape)
        patch.hu = torch.where(lung, texture.add_(air), patch.hu)
        return
    if bool(patch.liver.any()) and chance.happens(numbers.effusion_near_liver):
        lung &= near(patch.liver, chance.within(numbers.effusion_reach_mm), patch.spacing_mm)
    if chance.happens(numbers.effusion_at_back):
        lung &= _behind(lung, chance.within(numbers.effusion_level_share), chance.bell(_SLOPE))
    fluid = _fluid(patch, chance.within(numbers.effusion_hu), numbers, chance)
    if chance.happens(numbers.collapsed):
        within = chance.smooth(_KNOTS, lung.shape)[0] > 0.3
        fluid.masked_fill_(within, chance.within(numbers.collapsed_hu))
    _pour(patch, lung, fluid)


def add_ascites(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Fluid in place of the fat around the liver."""
    if not chance.happens(numbers.ascites) or not bool(patch.liver.any()):
        return
    around = near(patch.liver, chance.within(numbers.ascites_reach_mm), patch.spacing_mm)
    fat = around & (patch.hu < numbers.fat_below_hu) & (patch.tissue == REST)
    _pour(patch, fat, _fluid(patch, chance.within(numbers.ascites_hu), numbers, chance))


def fill_stomach(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Water instead of contrast, air and food."""
    if chance.happens(numbers.full_stomach):
        fluid = _fluid(patch, chance.within(numbers.full_stomach_hu), numbers, chance)
        _pour(patch, patch.tissue == STOMACH, fluid)


def _fluid(patch: Patch, hu: float, numbers: Augmentation, chance: Chance) -> torch.Tensor:
    return chance.noise(*patch.hu.shape).mul_(numbers.fluid_texture_hu).add_(hu)


def _behind(lung: torch.Tensor, level_share: float, slope: float) -> torch.Tensor:
    """What lies lower than a level in a patient on the back; 0 is the patch's middle."""
    z, y = (torch.arange(n, device=lung.device) - (n - 1) / 2 for n in lung.shape[:2])
    return (y + slope * z[:, None] > level_share * lung.shape[1])[..., None]


def _pour(patch: Patch, where: torch.Tensor, fluid: torch.Tensor) -> None:
    """With soft edges, but not into the liver."""
    share = softened(where) * ~patch.liver
    patch.hu = torch.lerp(patch.hu, fluid, share)
