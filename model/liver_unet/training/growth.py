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
from liver_unet.training.averaged import AveragedCase
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
        offset = points - torch.from_numpy(centre).float()
        offset_mm = offset @ torch.from_numpy(np.linalg.inv(from_mm[:3, :3]).T).float()
        distance_mm2 = offset_mm.square().sum(dim=-1, keepdim=True)
        points -= offset.mul_(self.share * torch.exp(distance_mm2 / (-2 * self.reach_mm**2)))


def draw_growth(case: AveragedCase, random: np.random.Generator) -> Growth | None:
    """Return a larger spleen, or a part of the liver larger or smaller; None for most patches."""
    chance = random.random()
    if chance < 0.25 and case.spleen_centre_mm is not None:
        centre_mm = case.spleen_centre_mm + random.normal(0, 10, 3)
        return Growth(centre_mm, random.uniform(60, 120), random.uniform(0.2, 0.65))
    if chance > 0.85:
        centre_mm = case.liver_points_mm[random.integers(len(case.liver_points_mm))]
        return Growth(centre_mm, random.uniform(25, 70), random.uniform(-0.4, 0.45))
    return None
