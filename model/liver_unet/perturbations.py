"""A CT as disease, scanners and positioning would change it: what a network is measured with.

Strengths are named constants and every draw has a fixed seed, so that two networks see the same.
Array axes stand for patient axes as the grid says; nothing here asks for an upright scan.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liver_unet.liver import is_liver
from liver_unet.postprocess import largest_object
from liver_unet.volume import Grid, Volume

Mask = NDArray[np.bool_]
Index = NDArray[np.int64]
Image = NDArray[np.float32]
Hu = NDArray[np.int16] | NDArray[np.float32]
Random = np.random.Generator
Direction = tuple[float, float, float]

EFFUSION_HU, EFFUSION_REACH_MM = 15.0, 35.0
STREAK_HU, STREAK_FADE_MM, STREAK_STEP_MM, STREAK_RAYS = 60.0, 150.0, 15.0, 90
ARM_HU, ARM_BAND_MM = 30.0, 20.0
NOISE_HU = 80.0
MERGED_SLICES = 3
DARKER_LIVER_HU = 60.0
NECROSIS_RADIUS_MM, NECROSIS_HU = 60.0, 90.0
MASS_RADIUS_MM, MASS_DARKER_HU = 25.0, 30.0
NECROTIC_MASS_RADIUS_MM, NECROTIC_MASS_HU = 50.0, 15.0
DARKER_HU = 40.0
CONTRAST_FROM_HU, CONTRAST_KEPT = 45.0, 0.3
TUMOUR_RADII_MM, TUMOUR_DARKER_HU = (15.0, 18.0, 22.5), 40.0
CUT_SHARE = 0.2
LARGER = 1.4

# Stored CTs end at -1024, or were clipped at -100 to -210: lung and air lie at that end.
_AIR_BELOW_HU = -300.0
_ABOVE_LOWEST_HU = 12.0
_LEAST_LUNG_ML = 60.0
_BONE_HU = 220.0
_EDGE_MM = 0.8


@dataclass(frozen=True, eq=False)
class Patient:
    """A CT with its liver outlined; liver: (slice, row, column) on the CT's grid."""

    ct: Volume
    liver: Mask


def perturbed(patient: Patient, name: str) -> Patient:
    """The patient changed as PERTURBATIONS[name] says; what is changed outside HU is the truth's
    too."""
    return PERTURBATIONS[name](patient, np.random.default_rng(zlib.crc32(name.encode())))


def body_of(ct: Volume) -> Mask:
    """The body with what it encloses, without the table."""
    tissue = ~_air(ct)
    body = np.zeros_like(tissue)
    axis = _axis_along(ct.grid, 2)
    for within, seen in zip(np.moveaxis(body, axis, 0), np.moveaxis(tissue, axis, 0), strict=True):
        within[:] = ndimage.binary_fill_holes(largest_object(ndimage.binary_opening(seen)))
    return body


def lung_of(patient: Patient) -> Mask:
    """What the body encloses that is as dark as air and large; bowel gas is not."""
    air = _air(patient.ct) & body_of(patient.ct)
    labels, count = ndimage.label(ndimage.binary_opening(air))
    least = _LEAST_LUNG_ML / patient.ct.grid.voxel_ml
    large = np.flatnonzero(np.bincount(labels.ravel(), minlength=count + 1) >= least)
    return np.asarray(np.isin(labels, large[large > 0]))


def _effusion(patient: Patient, random: Random) -> Patient:
    """Fluid in place of the lung near the liver's upper half."""
    height = _heights_mm(patient.ct.grid)
    upper = patient.liver & (height > np.median(height[patient.liver]))
    fluid = lung_of(patient) & (_distance_mm(upper, patient.ct.grid) < EFFUSION_REACH_MM)
    return _with_hu(patient, _blended(patient.ct, fluid, EFFUSION_HU))


def _streaks(patient: Patient, random: Random) -> Patient:
    """Rays from a point beside the liver and one behind it, fading with the distance."""
    hu = patient.ct.hu.astype(np.float32)
    centre_mm = _centre_mm(patient)
    for offset_mm in ((90.0, -40.0, 0.0), (40.0, 70.0, 0.0)):
        away_mm = _points_mm(patient.ct.grid) - (centre_mm + offset_mm)
        angle = np.arctan2(away_mm[..., 1], away_mm[..., 0]) / (2 * np.pi) + 0.5
        ray = np.rint(angle * (STREAK_RAYS - 1))
        step = (away_mm[..., 2] - away_mm[..., 2].min()) / STREAK_STEP_MM
        knots = random.normal(0, STREAK_HU, (int(step.max()) + 2, STREAK_RAYS))
        strength = ndimage.map_coordinates(knots, np.stack([step, ray]), order=1)
        far_mm = np.hypot(away_mm[..., 0], away_mm[..., 1])
        hu += (strength * np.exp(-far_mm / STREAK_FADE_MM)).astype(np.float32)
    return _with_hu(patient, hu)


def _arms(patient: Patient, random: Random) -> Patient:
    """Dark and bright bands from left to right, as of arms beside the body."""
    points = _points_mm(patient.ct.grid)
    depth = points[..., 1] - points[..., 1].min()
    height = points[..., 2] - points[..., 2].min()
    size = (int(height.max() / ARM_BAND_MM) + 2, int(depth.max() / ARM_BAND_MM) + 2)
    knots = random.normal(0, ARM_HU, size)
    at = np.stack([height / ARM_BAND_MM, depth / ARM_BAND_MM])
    bands = ndimage.map_coordinates(knots, at, order=1)
    return _with_hu(patient, patient.ct.hu + bands.astype(np.float32))


def _noise(patient: Patient, random: Random) -> Patient:
    noise = random.standard_normal(patient.ct.hu.shape, dtype=np.float32) * NOISE_HU
    return _with_hu(patient, patient.ct.hu + noise)


def _merged_slices(patient: Patient, random: Random) -> Patient:
    """Every three slices averaged into one."""
    grid, n = patient.ct.grid, MERGED_SLICES
    count = grid.shape[0] // n
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(np.array([(n - 1) / 2, 0.0, 0.0]))
    affine[:3, 0] *= n

    def merged(array: NDArray[np.generic]) -> Image:
        whole = array[: count * n].astype(np.float32)
        return np.asarray(whole.reshape(count, n, *array.shape[1:]).mean(axis=1))

    thick = Grid((count, *grid.shape[1:]), affine)
    return Patient(Volume(merged(patient.ct.hu), thick), is_liver(merged(patient.liver)))


def _dark_liver(patient: Patient, random: Random) -> Patient:
    """A fatty liver: darker, its vessels too."""
    return _with_hu(
        patient, patient.ct.hu - DARKER_LIVER_HU * _soft(patient.liver, patient.ct.grid)
    )


def _necrosis(patient: Patient, random: Random) -> Patient:
    """One dead tumour in the middle of the liver."""
    depth_mm = ndimage.distance_transform_edt(patient.liver, sampling=patient.ct.grid.spacing_mm)
    middle = np.array(np.unravel_index(int(depth_mm.argmax()), depth_mm.shape))
    inside = _ball(patient.ct.grid, middle, NECROSIS_RADIUS_MM) & patient.liver
    return _with_hu(patient, patient.ct.hu - NECROSIS_HU * _soft(inside, patient.ct.grid))


def _tumours(patient: Patient, random: Random) -> Patient:
    hu = patient.ct.hu.astype(np.float32)
    within = np.argwhere(patient.liver)
    for radius_mm in TUMOUR_RADII_MM:
        at = within[random.integers(len(within))]
        inside = _ball(patient.ct.grid, at, radius_mm) & patient.liver
        hu -= TUMOUR_DARKER_HU * _soft(inside, patient.ct.grid)
    return _with_hu(patient, hu)


def _mass_beside(patient: Patient, random: Random) -> Patient:
    """A mass nearly as bright as the liver that the liver's surface moulds."""
    bright = _median_hu(patient) - MASS_DARKER_HU
    return _with_mass(patient, MASS_RADIUS_MM, (1.0, -0.3, 0.0), bright, random)


def _mass_behind(patient: Patient, random: Random) -> Patient:
    """A large dead mass behind the liver."""
    towards = (0.7, 0.7, 0.0)
    return _with_mass(patient, NECROTIC_MASS_RADIUS_MM, towards, NECROTIC_MASS_HU, random)


def _darker(patient: Patient, random: Random) -> Patient:
    return _with_hu(patient, patient.ct.hu - np.float32(DARKER_HU))


def _contrast_out(patient: Patient, random: Random) -> Patient:
    """Most of what contrast agent adds is taken away again; bone keeps its edge."""
    hu = patient.ct.hu.astype(np.float32)
    added = np.clip(hu - CONTRAST_FROM_HU, 0, 250 - CONTRAST_FROM_HU)
    return _with_hu(patient, hu - (1 - CONTRAST_KEPT) * added)


def _cut(patient: Patient, random: Random) -> Patient:
    """The scan ends within the liver's lower fifth."""
    grid, axis = patient.ct.grid, _axis_along(patient.ct.grid, 2)
    others = tuple(other for other in range(3) if other != axis)
    along = np.flatnonzero(patient.liver.any(axis=others))
    low, high = int(along[0]), int(along[-1]) + 1
    cut = int((high - low) * CUT_SHARE)
    box = [slice(0, n) for n in grid.shape]
    upwards = grid.affine[2, axis] > 0
    box[axis] = slice(low + cut, grid.shape[axis]) if upwards else slice(0, high - cut)
    z, y, x = box
    kept = Volume(patient.ct.hu[z, y, x], grid.cropped((z, y, x)))
    return Patient(kept, patient.liver[z, y, x])


def _larger(patient: Patient, random: Random) -> Patient:
    affine = patient.ct.grid.affine.copy()
    affine[:3, :3] *= LARGER
    grid = Grid(patient.ct.grid.shape, affine)
    return replace(patient, ct=Volume(patient.ct.hu, grid))


PERTURBATIONS: Mapping[str, Callable[[Patient, Random], Patient]] = {
    "effusion": _effusion,
    "streaks": _streaks,
    "arms": _arms,
    "noise": _noise,
    "merged slices": _merged_slices,
    "dark liver": _dark_liver,
    "necrosis": _necrosis,
    "mass beside": _mass_beside,
    "necrotic mass behind": _mass_behind,
    "darker": _darker,
    "contrast pressed out": _contrast_out,
    "tumours": _tumours,
    "field of view cut": _cut,
    "larger": _larger,
}

# Of these, what disease does within the liver; it raises doubt, wrong outline or not.
DISEASES = ("dark liver", "necrosis", "tumours")


def _with_hu(patient: Patient, hu: Hu) -> Patient:
    """What a scanner stores: whole HU, and nothing below the lowest that this CT has."""
    stored = np.rint(np.clip(hu, float(patient.ct.hu.min()), 3071)).astype(np.int16)
    return replace(patient, ct=Volume(stored, patient.ct.grid))


def _with_mass(
    patient: Patient, radius_mm: float, towards: Direction, hu: float, random: Random
) -> Patient:
    body = body_of(patient.ct)
    at = _beside(patient, body, radius_mm, towards)
    soft = body & (patient.ct.hu < _BONE_HU) & ~_air(patient.ct)
    inside = _ball(patient.ct.grid, at, radius_mm) & soft & ~patient.liver
    texture = random.normal(hu, 10.0, patient.ct.hu.shape).astype(np.float32)
    return _with_hu(patient, _blended(patient.ct, inside, texture))


def _beside(patient: Patient, body: Mask, radius_mm: float, towards: Direction) -> Index:
    """Where a mass lies that touches the liver: deep in the body, at the height of the liver's
    middle, farthest in a direction (LPS)."""
    grid, step = patient.ct.grid, 3
    coarse = (slice(None, None, step),) * 3
    spacing_mm = grid.spacing_mm * step
    deep_mm = ndimage.distance_transform_edt(np.pad(body[coarse], 1), sampling=spacing_mm)
    away_mm = ndimage.distance_transform_edt(~patient.liver[coarse], sampling=spacing_mm)
    height_mm = _heights_mm(grid)
    low_mm, high_mm = np.quantile(height_mm[patient.liver], [0.3, 0.7])
    middle = (height_mm[coarse] > low_mm) & (height_mm[coarse] < high_mm)
    touching = (away_mm > 0.3 * radius_mm) & (away_mm < 0.6 * radius_mm) & middle
    places = np.argwhere(touching & (deep_mm[1:-1, 1:-1, 1:-1] > 0.9 * radius_mm)) * step
    if not len(places):
        raise ValueError("there is no place for a mass beside this liver")
    farthest = (grid.to_mm(places.astype(float)) @ np.array(towards)).argmax()
    return np.asarray(places[farthest])


def _ball(grid: Grid, at: Index, radius_mm: float) -> Mask:
    """The voxels around an index that lie within radius_mm."""
    middle = np.asarray(at, dtype=float)
    # How far a ball reaches along an axis of a sheared grid.
    reach = radius_mm * np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)
    first = np.maximum(np.floor(middle - reach), 0).astype(int)
    stop = np.minimum(np.ceil(middle + reach).astype(int) + 1, grid.shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
    away_mm = _points_mm(grid.cropped((z, y, x))) - grid.to_mm(middle)
    ball = np.zeros(grid.shape, dtype=bool)
    ball[z, y, x] = (away_mm**2).sum(axis=-1) <= radius_mm**2
    return ball


def _air(ct: Volume) -> Mask:
    return np.asarray(ct.hu < max(_AIR_BELOW_HU, float(ct.hu.min()) + _ABOVE_LOWEST_HU))


def _points_mm(grid: Grid) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return grid.to_mm(index.astype(float))


def _heights_mm(grid: Grid) -> Image:
    z, y, x = (np.arange(n, dtype=np.float32) for n in grid.shape)
    up = grid.affine[2].astype(np.float32)
    return np.asarray(up[0] * z[:, None, None] + up[1] * y[:, None] + up[2] * x + up[3])


def _centre_mm(patient: Patient) -> NDArray[np.float64]:
    return patient.ct.grid.to_mm(np.argwhere(patient.liver).mean(axis=0))


def _distance_mm(mask: Mask, grid: Grid) -> NDArray[np.float64]:
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm))


def _median_hu(patient: Patient) -> float:
    return float(np.median(patient.ct.hu[patient.liver]))


def _soft(mask: Mask, grid: Grid) -> Image:
    """A mask with edges as a scanner draws them."""
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), _EDGE_MM / grid.spacing_mm))


def _blended(ct: Volume, mask: Mask, instead: float | Image) -> Image:
    share = _soft(mask, ct.grid)
    return np.asarray(ct.hu * (1 - share) + instead * share, dtype=np.float32)


def _axis_along(grid: Grid, patient_axis: int) -> int:
    """The array's axis that runs most along x, y or z."""
    steps = grid.affine[:3, :3] / grid.spacing_mm
    return int(np.abs(steps[patient_axis]).argmax())
