"""One random training patch of a case: geometry, organ contrast, lesions, scanner.

Few patients must stand for many, so everything about a patch is drawn afresh: where it lies and
how the body is turned, stretched and bent; the contrast phase organ by organ; tumours; and what
the scanner adds. Each patch depends only on its random generator, so a resumed training goes on
with the patches it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch.nn import functional

from liver_unet.resample import points_from_mm, sampling_points
from liver_unet.training.averaged import AveragedCase
from liver_unet.training.growth import Growth, draw_growth
from liver_unet.volume import AIR_HU, Grid

# Typical mean HU of organs by contrast phase, from radiology textbooks, rounded.
PHASES_HU: dict[str, dict[str, float]] = {
    "native": {
        "liver": 55, "spleen": 45, "kidney_left": 32, "kidney_right": 32, "aorta": 40,
        "pancreas": 40, "gallbladder": 10, "stomach": 30,
    },
    "arterial": {
        "liver": 72, "spleen": 120, "kidney_left": 150, "kidney_right": 150, "aorta": 300,
        "pancreas": 100, "gallbladder": 12, "stomach": 40,
    },
    "portal": {
        "liver": 110, "spleen": 120, "kidney_left": 180, "kidney_right": 180, "aorta": 150,
        "pancreas": 95, "gallbladder": 12, "stomach": 45,
    },
    "late": {
        "liver": 85, "spleen": 85, "kidney_left": 130, "kidney_right": 130, "aorta": 100,
        "pancreas": 70, "gallbladder": 15, "stomach": 40,
    },
}  # fmt: skip

Random = np.random.Generator


@dataclass(frozen=True)
class Patch:
    """One training sample: image in HU, liver 0 or 1, organs by the case's own numbers."""

    hu: torch.Tensor
    liver: torch.Tensor
    organs: torch.Tensor


def draw_patch(
    case: AveragedCase, shape: tuple[int, int, int], spacing_mm: float, random: Random
) -> Patch:
    """Return a turned, scaled, bent and grown patch of the case, otherwise as it was scanned."""
    growth = draw_growth(case, random)
    centre_mm = _patch_centre(case, growth, random)
    points = sampling_points(case.grid, _patch_grid(centre_mm, shape, spacing_mm, random))
    points += _bend(case.grid, shape, random)
    if growth:
        growth.move(points, case.grid)
    hu, liver = functional.grid_sample(
        case.hu_and_liver[None], points, padding_mode="border", align_corners=False
    )[0]
    organs = functional.grid_sample(
        case.organs[None, None], points, mode="nearest", padding_mode="zeros", align_corners=False
    )[0, 0]
    outside = (points[0].abs_() > 1).any(dim=-1)
    if random.random() < 0.2:
        _cut_field_of_view(outside, random)
    hu[outside] = AIR_HU
    liver = ((liver > 0.5) & ~outside).float()
    return Patch(hu, liver, organs.long())


def _cut_field_of_view(outside: torch.Tensor, random: Random) -> None:
    """Blank some slices at one end, as if the scan began or ended within the patch."""
    cut = int(random.integers(1, len(outside) // 2))
    if random.random() < 0.5:
        outside[:cut] = True
    else:
        outside[-cut:] = True


def _patch_centre(case: AveragedCase, growth: Growth | None, random: Random) -> NDArray[np.float64]:
    if growth and random.random() < 0.5:
        return np.asarray(growth.centre_mm + random.uniform(-60, 60, 3))
    if random.random() < 0.65:
        centre_mm = case.liver_points_mm[random.integers(len(case.liver_points_mm))]
        return np.asarray(centre_mm + random.uniform(-45, 45, 3))
    return case.grid.to_mm(random.uniform(0.1, 0.9, 3) * (np.array(case.grid.shape) - 1))


def _patch_grid(
    centre_mm: NDArray[np.float64], shape: tuple[int, int, int], spacing_mm: float, random: Random
) -> Grid:
    turn = Rotation.from_euler("zyx", random.normal(0, [9, 6, 6]), degrees=True).as_matrix()
    scale = np.exp(random.uniform(np.log(0.8), np.log(1.2))) * random.uniform(0.92, 1.08, 3)
    step = np.zeros((3, 3))
    step[2, 0] = step[1, 1] = step[0, 2] = spacing_mm
    affine = np.eye(4)
    # A patient scaled up is seen as a finer step through the stored one.
    affine[:3, :3] = (turn / scale) @ step
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _bend(source: Grid, shape: tuple[int, int, int], random: Random) -> torch.Tensor:
    """Smooth random displacement in torch's points of source; none for a third of the patches."""
    strength_mm = max(0.0, random.uniform(-3, 6))
    knots_mm = random.normal(0, strength_mm, (6, 6, 6, 3))
    knots = knots_mm @ points_from_mm(source)[:3, :3].T
    channels_first = torch.from_numpy(knots.transpose(3, 0, 1, 2)).float()[None]
    bend = functional.interpolate(channels_first, size=shape, mode="trilinear", align_corners=True)
    return bend.permute(0, 2, 3, 4, 1)


def change_contrast(patch: Patch, case: AveragedCase, random: Random) -> torch.Tensor:
    """Return the patch's HU with every known organ moved towards another contrast phase."""
    offset_hu = np.zeros(max(case.organ_names) + 1)
    phase = PHASES_HU[str(random.choice(list(PHASES_HU)))]
    towards = random.uniform(0.3, 1.0) if random.random() < 0.5 else 0.0
    common = random.normal(0, 8)
    for number, name in case.organ_names.items():
        shift = random.normal(0, 12) + common
        if name in phase:
            shift += towards * (phase[name] - case.organ_mean_hu[number])
        if name == "liver" and random.random() < 0.2:
            shift -= random.uniform(10, 70)  # fatty liver
        offset_hu[number] = np.clip(shift, -120, 200)
    liver_shift = offset_hu[case.liver_number]
    field = torch.from_numpy(offset_hu).float()[patch.organs]
    # The liver's own mask is the better one, and holds its tumours.
    field = torch.where(patch.liver > 0, torch.tensor(liver_shift).float(), field)
    field = functional.avg_pool3d(field[None, None], 3, stride=1, padding=1)[0, 0]
    hu = patch.hu + field
    if random.random() < 0.3:
        hu = _with_less_contrast_agent(hu, random)
    inside = patch.liver > 0
    if bool(inside.any()):
        mean = hu[inside].mean()
        sharper = random.uniform(0.3, 1.6)
        hu = torch.where(inside, mean + (hu - mean) * sharper, hu)
    return hu


def _with_less_contrast_agent(hu: torch.Tensor, random: Random) -> torch.Tensor:
    """Press what is brighter than unenhanced tissue towards it: heart, vessels and organs alike.

    Organs that nobody outlined, the heart above all, lose their contrast in no other way.
    """
    native_hu, enhanced_hu = random.uniform(30, 60), 250.0
    kept = random.uniform(0.05, 0.6)
    above = (hu - native_hu).clamp(0, enhanced_hu - native_hu)
    return hu - (1 - kept) * above


def add_lesions(
    hu: torch.Tensor, liver: torch.Tensor, spacing_mm: float, random: Random
) -> torch.Tensor:
    """Paint tumours, cysts and treated areas into the liver, and at times a mass beside it."""
    if random.random() < 0.5:
        inside = liver.nonzero()
        for _ in range(random.integers(1, 6) if len(inside) else 0):
            centre = inside[random.integers(len(inside))].numpy()
            radius_mm = float(np.exp(random.uniform(np.log(4), np.log(45))))
            change_hu = (
                random.uniform(-80, 60) if random.random() < 0.3 else random.uniform(-70, -10)
            )
            _paint(hu, liver > 0, centre, radius_mm / spacing_mm, change_hu, random)
    if random.random() < 0.15:
        coarse = liver[None, None, ::4, ::4, ::4]
        near = functional.max_pool3d(coarse, 3, stride=1, padding=1)
        outside = 4 * ((near > 0) & (coarse == 0))[0, 0].nonzero()
        if len(outside):
            centre = outside[random.integers(len(outside))].numpy()
            radius_mm = random.uniform(15, 50)
            _paint_mass(
                hu, liver == 0, centre, radius_mm / spacing_mm, random.uniform(10, 130), random
            )
    return hu


def _blob(
    shape: torch.Size, centre: NDArray[np.int64], radius: float, random: Random
) -> tuple[tuple[slice, ...], torch.Tensor]:
    """A lumpy ellipsoid: the box it lies in and its opacity there, 0 to 1."""
    radii = radius * random.uniform(0.7, 1.3, 3)
    reach = np.ceil(radii * 1.9).astype(int)
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, np.array(shape))
    axes = [
        torch.arange(a, b).float().sub(float(c)).div(float(r))
        for a, b, c, r in zip(low, high, centre, radii, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    distance = (z * z + y * y + x * x).sqrt()
    knots = torch.from_numpy(random.normal(0, 0.25, (1, 1, 5, 5, 5))).float()
    lumps = functional.interpolate(knots, size=distance.shape, mode="trilinear", align_corners=True)
    opacity = torch.sigmoid((1 - distance - lumps[0, 0]) / random.uniform(0.04, 0.12))
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), opacity


def _paint(
    hu: torch.Tensor,
    allowed: torch.Tensor,
    centre: NDArray[np.int64],
    radius: float,
    change_hu: float,
    random: Random,
) -> None:
    box, opacity = _blob(hu.shape, centre, radius, random)
    change = change_hu * opacity
    if random.random() < 0.3:  # an enhancing rim around the core
        change = change + random.uniform(10, 60) * 4 * opacity * (1 - opacity)
    hu[box] += torch.where(allowed[box], change, torch.zeros(()))


def _paint_mass(
    hu: torch.Tensor,
    allowed: torch.Tensor,
    centre: NDArray[np.int64],
    radius: float,
    mass_hu: float,
    random: Random,
) -> None:
    box, opacity = _blob(hu.shape, centre, radius, random)
    texture = torch.from_numpy(random.normal(mass_hu, 10, tuple(opacity.shape))).float()
    mixed = hu[box] * (1 - opacity) + texture * opacity
    hu[box] = torch.where(allowed[box], mixed, hu[box])


def scan(hu: torch.Tensor, random: Random) -> torch.Tensor:
    """Add what a scanner adds: thick slices, blur, noise, streaks, calibration."""
    if random.random() < 0.3:
        hu = _thick_slices(hu, int(random.integers(2, 4)))
    if random.random() < 0.15:
        hu = functional.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    if random.random() < 0.7:
        noise = torch.from_numpy(random.standard_normal(tuple(hu.shape), dtype=np.float32))
        if random.random() < 0.5:
            noise = 2.5 * functional.avg_pool3d(noise[None, None], (1, 3, 3), 1, (0, 1, 1))[0, 0]
        hu = hu + noise * abs(random.normal(0, 14))
    if random.random() < 0.15:
        hu = hu + _streaks(hu.shape, random)
    return hu * random.uniform(0.9, 1.1) + random.normal(0, 8)


def _thick_slices(hu: torch.Tensor, factor: int) -> torch.Tensor:
    thick = functional.avg_pool3d(
        hu[None, None], (factor, 1, 1), ceil_mode=True, count_include_pad=False
    )
    size = tuple(hu.shape)
    return functional.interpolate(thick, size=size, mode="trilinear", align_corners=False)[0, 0]


def _streaks(shape: torch.Size, random: Random) -> torch.Tensor:
    """Straight lines at one or two angles, new in every slice: what metal and arms make."""
    slices, rows, columns = shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    total = np.zeros(tuple(shape), dtype=np.float32)
    for _ in range(random.integers(1, 3)):
        angle = random.uniform(0, np.pi)
        across = np.rint(x * np.cos(angle) + y * np.sin(angle)).astype(int)
        across -= across.min()
        lines = random.normal(0, random.uniform(8, 35), (slices, across.max() + 1))
        total += lines[:, across].astype(np.float32)
    return torch.from_numpy(total)


def to_network_input(
    hu: torch.Tensor, window_hu: tuple[float, float], random: Random
) -> torch.Tensor:
    """Clip to a window whose lower bound varies, then scale to 0..1.

    Training CTs were stored clipped at different lower bounds, hospitals' CTs are not clipped at
    all: air and lung must mean the same to the network wherever they end.
    """
    low, high = window_hu
    if random.random() < 0.7:
        hu = torch.where(hu <= -115, hu - random.uniform(0, 90), hu)
    bound = random.uniform(low, -110) if random.random() < 0.5 else low
    return (hu.clamp(bound, high) - low) / (high - low)
