"""How bright tissue is: contrast phases organ by organ, fat, contrast agent taken away."""

from __future__ import annotations

import numpy as np
import torch

from liver_unet.liver import LIVER
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.fields import softened
from liver_unet.training.geometry import Patch
from liver_unet.training.tissues import (
    AORTA,
    CLASSES,
    GALLBLADDER,
    KIDNEYS,
    OUTSIDE,
    PANCREAS,
    REST,
    SPLEEN,
    STOMACH,
)

# Typical mean HU of organs by contrast phase, from radiology textbooks, rounded.
_ORGANS = (LIVER, SPLEEN, KIDNEYS, AORTA, PANCREAS, GALLBLADDER, STOMACH)
_PHASES_HU = {
    "native": (55, 45, 32, 40, 40, 10, 30),
    "arterial": (72, 120, 150, 300, 100, 12, 40),
    "portal": (110, 120, 180, 150, 95, 12, 45),
    "late": (85, 85, 130, 100, 70, 15, 40),
}


def change_contrast(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Move every outlined organ towards another contrast phase, and the liver towards fat.

    Not always: an organ's edge must not be learnt from the paint alone.
    """
    if not chance.happens(numbers.as_scanned):
        table = torch.from_numpy(_shifts_hu(patch, numbers, chance)).to(patch.hu)
        patch.hu += softened(table[patch.tissue.int()])
    if chance.happens(numbers.contrast_lost):
        patch.hu = _with_less_contrast_agent(patch.hu, numbers, chance)
    if bool(patch.liver.any()):
        _change_texture(patch, chance.within(numbers.liver_texture_ratio))


def _shifts_hu(patch: Patch, numbers: Augmentation, chance: Chance) -> np.ndarray:
    """By tissue; nothing for what is no outlined organ."""
    table = np.zeros(OUTSIDE + 1)
    table[LIVER:CLASSES] = chance.numbers.normal(0, numbers.organ_hu, CLASSES - LIVER)
    table[LIVER:CLASSES] += chance.bell(numbers.all_organs_hu)
    if chance.happens(numbers.phase):
        typical = np.array(list(_PHASES_HU.values()))[chance.numbers.integers(len(_PHASES_HU))]
        away = np.nan_to_num(typical - patch.case.mean_hu[list(_ORGANS)])
        table[list(_ORGANS)] += chance.within(numbers.phase_share) * away
    if chance.happens(numbers.fat):
        table[LIVER] -= chance.within(numbers.fat_darker_hu)
    table[REST] = 0
    return table.clip(*numbers.organ_limits_hu)


def _with_less_contrast_agent(
    hu: torch.Tensor, numbers: Augmentation, chance: Chance
) -> torch.Tensor:
    """Press what is brighter than unenhanced tissue towards it: heart, vessels and organs alike.

    Organs that nobody outlined, the heart above all, lose their contrast in no other way.
    """
    native_hu = chance.within(numbers.unenhanced_hu)
    above = (hu - native_hu).clamp_(0, numbers.enhanced_hu - native_hu)
    return hu.sub(above, alpha=1 - chance.within(numbers.contrast_kept_share))


def _change_texture(patch: Patch, ratio: float) -> None:
    mean_hu = (patch.hu * patch.liver).sum() / patch.liver.sum()
    patch.hu = torch.where(patch.liver, torch.lerp(mean_hu, patch.hu, ratio), patch.hu)
