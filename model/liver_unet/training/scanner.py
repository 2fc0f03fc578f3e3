"""What a scanner adds to what it sees, and the network's input made of it."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from liver_unet.training.augmentation import Augmentation
from liver_unet.training.chance import Chance
from liver_unet.training.geometry import Patch

_MOST_AT_ONCE = (1.0, 3.0)
# Of noise averaged over three by three voxels, to be as strong as before.
_GRAIN = 2.5
# Slices that one ray, and one band, goes through before it is another.
_RAY_SLICES, _BAND_SLICES = 6, 8


def scan(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Thick slices, blur, noise, streaks, rays, bands, calibration, in the order they happen."""
    if chance.happens(numbers.darker_air):
        air = patch.hu <= numbers.air_below_hu
        patch.hu = torch.where(air, patch.hu - chance.within(numbers.darker_air_hu), patch.hu)
    if chance.happens(numbers.thick_slices):
        thickness_mm = chance.within(numbers.thick_slices_mm)
        patch.hu = _thick_slices(patch.hu, round(thickness_mm / patch.spacing_mm))
    if chance.happens(numbers.blur):
        patch.hu = _averaged(patch.hu, (3, 3, 3))
    if chance.happens(numbers.noise):
        patch.hu = patch.hu + _noise(patch, numbers, chance)
    if chance.happens(numbers.streaks):
        patch.hu = patch.hu + _streaks(patch, numbers, chance)
    if chance.happens(numbers.rays):
        patch.hu = patch.hu + _rays(patch, numbers, chance)
    if chance.happens(numbers.arms):
        patch.hu = patch.hu + _bands(patch, numbers, chance)
    patch.hu = patch.hu * chance.within(numbers.gain_ratio) + chance.bell(numbers.offset_hu)


def to_network_input(
    patch: Patch, window_hu: tuple[float, float], numbers: Augmentation, chance: Chance
) -> torch.Tensor:
    """Clip to a window whose lower bound varies, scale to 0..1, and blank what was not scanned.

    Training CTs were stored clipped at different lower bounds, hospitals' CTs are not clipped at
    all: air and lung must mean the same to the network wherever they end. Blanked last, for a
    scanner mixes nothing with what it does not scan.
    """
    low, high = window_hu
    bound = low
    if chance.happens(numbers.higher_bound):
        bound = chance.within((low, numbers.higher_bound_hu))
    image = patch.hu.clamp(bound, high).sub_(low).div_(high - low)
    return image.masked_fill_(patch.outside, 0)


def _thick_slices(hu: torch.Tensor, count: int) -> torch.Tensor:
    if count < 2:
        return hu
    thick = functional.avg_pool3d(
        hu[None, None], (count, 1, 1), ceil_mode=True, count_include_pad=False
    )
    size = tuple(hu.shape)
    return functional.interpolate(thick, size=size, mode="trilinear", align_corners=False)[0, 0]


def _averaged(field: torch.Tensor, kernel: tuple[int, int, int]) -> torch.Tensor:
    padding = tuple(k // 2 for k in kernel)
    return functional.avg_pool3d(field[None, None], kernel, 1, padding, count_include_pad=False)[
        0, 0
    ]


def _noise(patch: Patch, numbers: Augmentation, chance: Chance) -> torch.Tensor:
    noise = chance.noise(*patch.hu.shape)
    if chance.happens(numbers.grainy_noise):
        noise = _GRAIN * _averaged(noise, (1, 3, 3))
    sigma_hu = abs(chance.bell(numbers.noise_hu))
    if chance.happens(numbers.loud_noise):
        sigma_hu = chance.within(numbers.loud_noise_hu)
    return noise * (sigma_hu * min(1.0, numbers.noise_at_mm / patch.spacing_mm))


def _plane(patch: Patch) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns from the patch's middle on."""
    y, x = (
        torch.arange(n, device=patch.hu.device, dtype=torch.float32) - (n - 1) / 2
        for n in patch.hu.shape[1:]
    )
    return y[:, None], x[None, :]


def _streaks(patch: Patch, numbers: Augmentation, chance: Chance) -> torch.Tensor:
    """Straight lines at one or two angles, new in every slice: what metal makes."""
    y, x = _plane(patch)
    total = torch.zeros_like(patch.hu)
    for _ in range(chance.whole(_MOST_AT_ONCE)):
        angle = chance.within((0, math.pi))
        across = (x * math.cos(angle) + y * math.sin(angle)).round().long()
        across -= across.min().clone()
        lines = chance.noise(len(total), int(across.max()) + 1)
        total += lines[:, across] * chance.within(numbers.streaks_hu)
    return total


def _rays(patch: Patch, numbers: Augmentation, chance: Chance) -> torch.Tensor:
    """Bright and dark rays from one or two points, fading with the distance."""
    y, x = _plane(patch)
    slices, rows, columns = patch.hu.shape
    total = torch.zeros_like(patch.hu)
    for _ in range(chance.whole(_MOST_AT_ONCE)):
        up, left = chance.numbers.uniform(-0.6, 0.6, 2) * (rows, columns)
        count = chance.whole(numbers.rays_count)
        turn = torch.atan2(y - up, x - left) / (2 * math.pi) + 0.5
        ray = (turn * (count - 1)).round().long()
        strength = chance.smooth((1, max(2, slices // _RAY_SLICES), count, 1), (slices, count, 1))
        far_mm = patch.spacing_mm * torch.hypot(y - up, x - left)
        fading = torch.exp(far_mm / -chance.within(numbers.rays_fade_mm))
        total += strength[0, :, ray, 0] * (fading * chance.within(numbers.rays_hu))
    return total


def _bands(patch: Patch, numbers: Augmentation, chance: Chance) -> torch.Tensor:
    """From left to right, as of arms beside the body."""
    slices, rows, _ = patch.hu.shape
    knots = (1, slices // _BAND_SLICES + 1, chance.whole(numbers.arms_bands), 1)
    return chance.smooth(knots, (slices, rows, 1))[0] * chance.within(numbers.arms_hu)
