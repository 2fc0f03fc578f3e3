"""Volume and mass of the lungs, where a CT shows them whole: by threshold, density and size.

The mass is the volume times the mean density within.

Small vessels count, as they are filled in; the hilum's, the mediastinum, effusion and lung without
air do not, and air in airways, bullae, stomach and bowel is told apart by its density. What lies
around the body does not count either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cc3d
import fill_voids
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from liver_unet.volume import Grid, Volume

# Aerated lung lies between -950 and -500 HU; gas is darker.
_LUNG_BELOW_HU, _GAS_BELOW_HU, _BODY_ABOVE_HU = -500, -950, -300
# Voxels of about this size tell the volume to a few millilitres; of the other, whether there is
# anything to measure, in a tenth of the time: a CT of the abdomen cuts the lungs.
_SAMPLE_MM, _FIRST_SAMPLE_MM = 2.5, 5.0
# A voxel of the CT is taken as it is from this size on: of smaller ones memory holds too few.
_FINEST_MM = 1.5
# Of a voxel and a half: what lies half in gas and half in tissue. The larger voxels have more.
_EDGE_OF_GAS_MM, _FIRST_EDGE_OF_GAS_MM = 4.0, 6.0
_SURFACE_MM = 4.0
# Vessels up to twice this are filled in.
_VESSEL_RADIUS_MM = 5.0
_LEAST_GAS_ML, _LEAST_LUNG_ML, _LEAST_LUNGS_ML = 5.0, 200.0, 1000.0
# Of both lungs the smaller one has at least so much, and a second object of the larger one.
_LEAST_SHARE, _LEAST_OF_LARGEST = 0.25, 0.2
# Fewer are no picture of a chest.
_FEWEST_SLICES = 10

Mask = NDArray[np.bool_]
_Hu = NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True)
class Lungs:
    """Of both lungs together, whole in view."""

    ml: float
    kg: float


@dataclass(frozen=True)
class NoLungs:
    """reason: why nothing was measured, to stand after "the lungs were not measured:"."""

    reason: str


def measure_lungs(ct: Volume) -> Lungs | NoLungs:
    """Measure both lungs, or say why not; a CT of the abdomen cuts them."""
    first = _seen(*_sampled(ct, _FIRST_SAMPLE_MM), _FIRST_EDGE_OF_GAS_MM)
    if isinstance(first, NoLungs):
        return first
    hu, grid = _sampled(ct, _SAMPLE_MM)
    found = _seen(hu, grid, _EDGE_OF_GAS_MM)
    if isinstance(found, NoLungs):
        return found
    lungs, gas = found
    whole = _closed(lungs, grid) & ~gas
    ml = float(np.count_nonzero(whole)) * grid.voxel_ml
    if ml < _LEAST_LUNGS_ML:
        return NoLungs(f"what is seen has less than {_LEAST_LUNGS_ML:.0f} mL")
    # Towards the surface voxels hold tissue too: its density would count for lung's.
    inside = distance_transform_edt(whole, sampling=grid.spacing_mm) > _SURFACE_MM
    # HU are the density of water by definition, near enough for lung and blood.
    g_per_ml = np.clip(hu[inside].astype(np.float64) + 1000, 0, None).mean() / 1000
    return Lungs(ml, float(g_per_ml) * ml / 1000)


def _seen(hu: _Hu, grid: Grid, edge_of_gas_mm: float) -> tuple[Mask, Mask] | NoLungs:
    """Both lungs, without the vessels within, and gas; or why they are not there to be measured."""
    if abs(grid.affine[2, 0]) < grid.spacing_mm[0] / 2 or len(hu) < _FEWEST_SLICES:
        return NoLungs("the slices are not axial, or too few")
    gas = _gas(hu, grid)
    lungs = _without_gas(hu, gas, grid, edge_of_gas_mm)
    if lungs is None:
        return NoLungs("nothing of the size and density of lungs is seen")
    if lungs[0].any() or lungs[-1].any():
        return NoLungs("they are cut by the scan's ends")
    if not _are_both(lungs, hu, grid):
        return NoLungs("one of the two is not seen")
    return lungs, gas


def sampled_voxels(grid: Grid) -> int:
    """How many voxels are measured of a CT on that grid."""
    steps = _steps(grid, _SAMPLE_MM).tolist()
    return math.prod(math.ceil(n / step) for n, step in zip(grid.shape, steps, strict=True))


def _steps(grid: Grid, sample_mm: float) -> NDArray[np.int_]:
    """How far apart the voxels that are measured lie along each axis."""
    spacing_mm = grid.spacing_mm
    steps = np.maximum(1, (sample_mm / spacing_mm).astype(int))
    return np.asarray(np.where(steps * spacing_mm < _FINEST_MM, steps + 1, steps))


def _sampled(ct: Volume, sample_mm: float) -> tuple[_Hu, Grid]:
    step = _steps(ct.grid, sample_mm)
    z, y, x = (slice(None, None, int(one)) for one in step)
    hu: _Hu = ct.hu[z, y, x]
    affine = ct.grid.affine @ np.diag([*step.astype(np.float64), 1.0])
    slices, rows, columns = hu.shape
    return hu, Grid((slices, rows, columns), affine)


def _gas(hu: _Hu, grid: Grid) -> Mask:
    """Air around the body, in airways, bullae and bowel; in lung noise makes but small pieces."""
    labels, ml = _objects(hu < _GAS_BELOW_HU, grid)
    large = np.flatnonzero(ml >= _LEAST_GAS_ML)
    return np.isin(labels, large[large > 0])


def _without_gas(hu: _Hu, gas: Mask, grid: Grid, edge_mm: float) -> Mask | None:
    """The largest objects of lung's density. The edge of gas has it too, and joins lungs to the
    trachea and the scan's top."""
    away_mm = distance_transform_edt(~gas, sampling=grid.spacing_mm)
    dark = (hu < _LUNG_BELOW_HU) & (away_mm > edge_mm) & _within_body(hu)
    labels, ml = _objects(dark, grid)
    sides = (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1])
    ml[np.unique(np.concatenate([side.ravel() for side in sides]))] = ml[0] = 0
    largest = float(ml.max())
    kept = np.flatnonzero((ml >= _LEAST_OF_LARGEST * largest) & (ml >= _LEAST_LUNG_ML))
    return np.isin(labels, kept) if kept.size else None


def _within_body(hu: _Hu) -> Mask:
    """What the largest bright object encloses, slice by slice: cushions and tables are of lung's
    density too."""
    body = cc3d.largest_k(hu > _BODY_ABOVE_HU, k=1, connectivity=6).astype(bool)
    return np.stack([fill_voids.fill(one) for one in body])


def _objects(mask: Mask, grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
    """Number the objects of a mask from 1 on, and tell the mL of each by its number."""
    labels, count = cc3d.connected_components(mask, connectivity=6, return_N=True)
    return labels, np.bincount(labels.ravel(), minlength=count + 1) * grid.voxel_ml


def _are_both(lungs: Mask, hu: _Hu, grid: Grid) -> bool:
    """Whether enough lies on either side of the body's middle."""
    middle_x = float(np.median(_x_mm(hu > _BODY_ABOVE_HU, grid)))
    is_left = float((_x_mm(lungs, grid) > middle_x).mean())
    return _LEAST_SHARE <= is_left <= 1 - _LEAST_SHARE


def _x_mm(mask: Mask, grid: Grid) -> NDArray[np.float64]:
    """To the patient's left, of the voxels of a mask."""
    z, y, x = np.ogrid[tuple(slice(n) for n in mask.shape)]
    by_slice, by_row, by_column, first = grid.affine[0]
    to_left: NDArray[np.float64] = by_slice * z + by_row * y + by_column * x + first
    return to_left[mask]


def _closed(lungs: Mask, grid: Grid) -> Mask:
    """With the vessels within, small at the surface and of any size where lung is all around."""
    spacing_mm = grid.spacing_mm
    wide = distance_transform_edt(~lungs, sampling=spacing_mm) <= _VESSEL_RADIUS_MM
    narrow = distance_transform_edt(wide, sampling=spacing_mm) > _VESSEL_RADIUS_MM
    return np.asarray(binary_fill_holes(narrow | lungs))
