"""A made-up patch of few plain tissues, and numbers with which nothing is painted."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch

from liver_unet.liver import LIVER
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.geometry import Patch
from liver_unet.training.held import HeldCase
from liver_unet.training.tissues import AORTA, CLASSES, LUNG, OUTSIDE, REST, STOMACH
from liver_unet.volume import Grid

SHAPE = (20, 24, 28)
SPACING_MM = 6.0
HU = {LIVER: 100.0, STOMACH: 200.0, AORTA: 160.0, LUNG: -125.0, OUTSIDE: -125.0, REST: 40.0}
FAT_HU = -90.0
CPU = torch.device("cpu")

_CHANCES = [f.name for f in fields(Augmentation) if f.type == "float"]
_NOTHING: dict[str, object] = {
    **{name: 0.0 for name in _CHANCES if not name.endswith(("_hu", "_mm", "_share"))},
    "as_scanned": 1.0,
    "liver_texture_ratio": (1.0, 1.0),
    "gain_ratio": (1.0, 1.0),
    "offset_hu": 0.0,
}
NOTHING = replace(Augmentation(), **_NOTHING)  # type: ignore[arg-type]


def only(**numbers: object) -> Augmentation:
    """Nothing is painted but this."""
    return replace(NOTHING, **numbers)  # type: ignore[arg-type]


def chance(seed: int = 1) -> Chance:
    return Chance((seed,), CPU)


def plain_patch() -> Patch:
    """The lung lies above the liver, the stomach and the aorta beside it, fat around its front."""
    tissue = torch.full(SHAPE, REST, dtype=torch.uint8)
    tissue[5:13, 6:17, 4:16] = LIVER
    tissue[14:18, 5:19, 5:15] = LUNG
    tissue[6:12, 8:14, 17:23] = STOMACH
    tissue[2:18, 19:21, 14:17] = AORTA
    tissue[:, :2] = tissue[:, :, 26:] = OUTSIDE
    hu = torch.zeros(SHAPE)
    for number, value in HU.items():
        hu[tissue == number] = value
    hu[3:13, 3:6, 4:16] = FAT_HU
    outside, known = torch.zeros(SHAPE, dtype=torch.bool), torch.ones(SHAPE, dtype=torch.bool)
    return Patch(hu, tissue == LIVER, tissue, known, outside, SPACING_MM, plain_case())


def plain_case() -> HeldCase:
    mean_hu = np.full(CLASSES, np.nan)
    for number in (REST, LIVER, STOMACH, AORTA):
        mean_hu[number] = HU[number]
    z, y, x = SHAPE
    affine = np.diag([SPACING_MM] * 3 + [1.0])[[2, 1, 0, 3]]
    return HeldCase(
        hu_and_liver=torch.zeros(2, z, y, x),
        tissue=torch.zeros(SHAPE, dtype=torch.uint8),
        grid=Grid(SHAPE, affine),
        mean_hu=mean_hu,
        outlined=frozenset({LIVER, STOMACH, AORTA}),
        scanned_mm=1.0,
        cut=np.zeros((2, 3), dtype=bool),
        liver_points_mm=np.array([[60.0, 70.0, 50.0]]),
        spleen_centre_mm=None,
    )
