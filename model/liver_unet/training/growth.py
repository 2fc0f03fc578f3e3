"""Spleens and lobes of the liver larger or smaller than the few patients had them.

SIRT patients have what portal hypertension, resections and tumours make: a spleen as large as the
liver, one lobe grown and the other shrunk. A network that has seen none takes such a spleen for
liver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from liver_unet.resample import points_from_mm
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.held import HeldCase
from liver_unet.volume import Grid


@dataclass(frozen=True, eq=False)
class Growth:
    """What lies around centre_mm is 1 / (1 - share) times as large along each axis.

    The effect falls off as a Gaussian of sigma reach_mm; what lies farther is moved, not torn.
    share: below 0 it shrinks; nothing folds over for -2 < share < 1.
    """

    centre_mm: NDArray[np.float64]
    reach_mm: float
    share: float

    def move(self, points: torch.Tensor, source: Grid) -> None:
        """Change torch's sampling points (..., xyz) in source, in place."""
        from_mm = points_from_mm(source)
        centre = from_mm[:3, :3] @ self.centre_mm + from_mm[:3, 3]
        to_mm = torch.from_numpy(np.linalg.inv(from_mm[:3, :3]).T).to(points)
        offset = points - torch.from_numpy(centre).to(points)
        distance_mm2 = (offset @ to_mm).square().sum(dim=-1, keepdim=True)
        points -= offset.mul_(self.share * torch.exp(distance_mm2 / (-2 * self.reach_mm**2)))


def draw_growth(case: HeldCase, numbers: Augmentation, chance: Chance) -> Growth | None:
    """Return a larger spleen, or a part of the liver larger or smaller; None for most patches."""
    which = chance.numbers.random()
    if which < numbers.grown_spleen and case.spleen_centre_mm is not None:
        off_mm = chance.numbers.normal(0, numbers.grown_spleen_off_mm, 3)
        reach_mm = chance.within(numbers.grown_spleen_reach_mm)
        return Growth(
            case.spleen_centre_mm + off_mm, reach_mm, chance.within(numbers.grown_spleen_share)
        )
    if which > 1 - numbers.grown_lobe:
        reach_mm = chance.within(numbers.grown_lobe_reach_mm)
        share = chance.within(numbers.grown_lobe_share)
        return Growth(chance.one_of(case.liver_points_mm), reach_mm, share)
    return None
