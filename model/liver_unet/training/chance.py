"""All that is random about one patch, drawn where the patch lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from liver_unet.training.augmentation import Range

_SEEDS = 2**63


class Chance:
    """Numbers come from numpy, fields from torch on the device; both from the seed alone.

    So patch i of a training is the same in every run, whatever was interrupted before.
    """

    def __init__(self, seed: Sequence[int], device: torch.device) -> None:
        self.numbers = np.random.default_rng(seed)
        self._fields = torch.Generator(device)
        self._fields.manual_seed(int(self.numbers.integers(_SEEDS)))
        self._device = device

    def happens(self, share: float) -> bool:
        return bool(self.numbers.random() < share)

    def within(self, bounds: Range) -> float:
        return float(self.numbers.uniform(*bounds))

    def ratio(self, bounds: Range) -> float:
        """As often twice as half."""
        return float(np.exp(self.numbers.uniform(*np.log(bounds))))

    def whole(self, bounds: Range) -> int:
        """From the lower bound on, below the upper one."""
        return int(self.numbers.uniform(*bounds))

    def bell(self, sigma: float) -> float:
        return float(self.numbers.normal(0, sigma))

    def one_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """One row of many."""
        return np.asarray(points[self.numbers.integers(len(points))])

    def noise(self, *shape: int) -> torch.Tensor:
        """Standard normal, each voxel its own."""
        return torch.randn(shape, generator=self._fields, device=self._device)

    def smooth(self, knots: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """Standard normal at (channel, slice, row, column) knots, in straight lines between."""
        field: torch.Tensor = functional.interpolate(
            self.noise(1, *knots), size=tuple(shape), mode="trilinear", align_corners=True
        )
        return field[0]

    def voxel_of(self, mask: torch.Tensor) -> tuple[int, int, int] | None:
        """Some voxel of a mask, on every fourth along each axis; None where there is none."""
        thinned = 4 * mask[::4, ::4, ::4].nonzero()
        if not len(thinned):
            return None
        z, y, x = thinned[int(self.numbers.integers(len(thinned)))].tolist()
        return z, y, x
