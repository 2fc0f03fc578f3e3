"""A network that calls a range of HU liver, and what it is shown."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from liver_unet.model import Model
from liver_unet.segmenter import Segmenter
from liver_unet.volume import Box, Volume
from liver_unet.weights import ModelSpec
from tests.support.phantom import Phantom, head

SPEC = ModelSpec(
    name="threshold",
    spacing_mm=5.0,
    window_hu=(-200.0, 250.0),
    patch=(32, 32, 32),
    channels=(1, 1),
    classes=2,
    training_data="none",
    accuracy="none",
    licence="none",
)


class LiverByHu(nn.Module):
    """Calls a range of HU liver; in the phantom, the largest such object is its liver."""

    def __init__(self, low_hu: float, high_hu: float) -> None:
        super().__init__()
        self.low, self.high = ((hu + 200) / 450 for hu in (low_hu, high_hu))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        smooth = nn.functional.avg_pool3d(image, 3, 1, 1, count_include_pad=False)
        inside = torch.minimum(smooth - self.low, self.high - smooth) * 200
        inside[nn.functional.max_pool3d(image, 3, 1, 1) >= 1] = -1  # between bone and the rest
        return torch.cat([-inside, inside], dim=1)


def segmenter_by_hu(low_hu: float = 88, high_hu: float = 128) -> Segmenter:
    return Segmenter(model_of(LiverByHu(low_hu, high_hu)))


def model_of(network: nn.Module, spec: ModelSpec = SPEC) -> Model:
    return Model(network, spec, torch.device("cpu"), torch.float32)


def block(phantom: Phantom, box: Box, hu: int) -> tuple[Volume, float]:
    """A block in air on the phantom's grid, and its mL."""
    grid = phantom.volume.grid
    values = np.full(grid.shape, -900, dtype=np.int16)
    values[box] = hu
    return Volume(values, grid), float(np.count_nonzero(values == hu)) * grid.voxel_ml


def opened_head() -> Volume:
    """A head whose skull an operation opened along all slices."""
    closed = head()
    column = np.indices(closed.hu.shape)[2]
    gone = (closed.hu > 300) & (abs(column - 24) < 5)
    return Volume(np.where(gone, 40, closed.hu), closed.grid)
