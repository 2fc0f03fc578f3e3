"""A CT as the network wants it: canonical axes, the model's spacing, HU scaled to 0..1."""

from __future__ import annotations

import torch

from liver_unet.resample import canonical_grid, resample
from liver_unet.skull import without_brain
from liver_unet.volume import AIR_HU, Grid, Volume

CPU = torch.device("cpu")


def to_model_input(
    volume: Volume,
    spacing_mm: float,
    window_hu: tuple[float, float],
    device: torch.device = CPU,
) -> tuple[torch.Tensor, Grid]:
    """Return the image (slice, row, column), 0..1, and its grid; outside the scan, and in place of
    a brain, there is air. All of it is done on the device, where the volume goes as it is."""
    grid = canonical_grid(volume.grid, spacing_mm)
    hu = resample(torch.from_numpy(volume.hu).to(device), volume.grid, grid, fill=AIR_HU)
    low, high = window_hu
    return without_brain(hu.clamp_(low, high).sub_(low).div_(high - low), spacing_mm), grid
