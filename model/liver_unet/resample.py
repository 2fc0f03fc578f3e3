"""Move arrays from one grid to another, through the affines and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from liver_unet.volume import Box, Grid

_SLAB_VOXELS = 1_000_000
# Beyond the outer edges of the voxels by more than this, in torch's coordinates, lies outside.
_EDGE = 1e-4
# How far lines may stray from an axis over the whole target and still run along it.
_STRAY_VOXELS = 1e-3
# Headers keep single precision, and a long table multiplies its rounding.
_SAME_PLACE_MM = 0.1

_Scalar = TypeVar("_Scalar", bound=np.generic)


def canonical_grid(source: Grid, spacing_mm: float) -> Grid:
    """Return the smallest upright cubic-voxel grid that holds every voxel centre of the source.

    Its slices go to the head, its rows to the back, its columns to the left (LPS, ascending):
    the orientation the network is trained in.
    """
    points_mm = source.corners_mm()
    low, high = points_mm.min(axis=0), points_mm.max(axis=0)
    count_xyz = np.ceil((high - low) / spacing_mm - 1e-6).astype(int) + 1
    first = (low + high - (count_xyz - 1) * spacing_mm) / 2
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = spacing_mm
    affine[:3, 3] = first
    affine[3, 3] = 1
    x, y, z = (int(n) for n in count_xyz)
    return Grid((z, y, x), affine)


def on_voxels_of(array: NDArray[_Scalar], source: Grid, target: Grid) -> NDArray[_Scalar] | None:
    """Put an array on a grid some or all of whose voxels are its own, in whatever order they lie.

    Zero elsewhere; None where the array's voxels are not the grid's.
    """
    turn = np.rint(np.linalg.solve(target.affine[:3, :3], source.affine[:3, :3])).astype(int)
    corners = np.rint(target.to_index(source.corners_mm()))
    apart_mm = np.abs(target.to_mm(corners) - source.corners_mm()).max()
    first, last = corners.min(axis=0).astype(int), corners.max(axis=0).astype(int)
    steps = np.abs(turn)
    along_axes = (steps.sum(axis=0) == 1).all() and (steps.sum(axis=1) == 1).all()
    inside = first.min() >= 0 and (last < target.shape).all()
    if not (along_axes and inside and apart_mm <= _SAME_PLACE_MM):
        return None
    placed = np.zeros(target.shape, array.dtype)
    backwards = tuple(np.flatnonzero(turn.sum(axis=1) < 0).tolist())
    turned = np.flip(array.transpose(steps.argmax(axis=1)), backwards)
    placed[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = turned
    return placed


def resample(
    array: torch.Tensor, source: Grid, target: Grid, *, fill: float, nearest: bool = False
) -> torch.Tensor:
    """Interpolate a (slice, row, column) array on the target grid; float32.

    Where the source is finer than the target its voxels are averaged first, so that noise is not
    picked up sample by sample. Points more than half a voxel outside the source become `fill`.
    """
    out = torch.empty(target.shape, dtype=torch.float32, device=array.device)
    for part, values in resample_slabs(array, source, target, fill=fill, nearest=nearest):
        out[part] = values
    return out


def resample_slabs(
    array: torch.Tensor, source: Grid, target: Grid, *, fill: float, nearest: bool = False
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Like resample, slab by slab of target slices, so that a large target is never held whole."""
    box = _reach(source, target)
    data, source = array[box], source.cropped(box)
    if not nearest:
        data, source = block_averaged(data, source, float(target.spacing_mm.min()))
    lines = None if nearest else _parallel_lines(source, target)
    per_slab = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], per_slab):
        part = slice(start, min(start + per_slab, target.shape[0]))
        if lines is not None:
            yield part, _along_lines(data, lines, part, fill)
        else:
            slab = target.cropped((part, slice(0, target.shape[1]), slice(0, target.shape[2])))
            yield part, _at_points(data, source, slab, fill, nearest)


def _at_points(
    data: torch.Tensor, source: Grid, target: Grid, fill: float, nearest: bool
) -> torch.Tensor:
    points = sampling_points(source, target, data.device)
    values = functional.grid_sample(
        data.float()[None, None],
        points,
        mode="nearest" if nearest else "bilinear",
        padding_mode="border",
        align_corners=False,
    )[0, 0]
    values[(points[0].abs() > 1 + _EDGE).any(dim=-1)] = fill
    return values


@dataclass(frozen=True)
class _Lines:
    """Of each target axis: the source axis that it runs along, and where on it its voxels lie."""

    axes: tuple[int, int, int]
    positions: tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _parallel_lines(source: Grid, target: Grid) -> _Lines | None:
    """None where the axes do not run along each other, as with an oblique or tilted scan.

    Most scans are upright, and three interpolations along lines take a tenth of the time of one
    in space.
    """
    matrix = np.linalg.inv(source.affine) @ target.affine
    axes = np.abs(matrix[:3, :3]).argmax(axis=0)
    strays = matrix[:3, :3].copy()
    strays[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or (np.abs(strays) @ target.shape).max() > _STRAY_VOXELS:
        return None
    first, second, third = (
        torch.from_numpy(matrix[axis, 3] + matrix[axis, along] * np.arange(count))
        for along, (axis, count) in enumerate(zip(axes, target.shape, strict=True))
    )
    return _Lines((int(axes[0]), int(axes[1]), int(axes[2])), (first, second, third))


def _along_lines(data: torch.Tensor, lines: _Lines, part: slice, fill: float) -> torch.Tensor:
    values = data.permute(lines.axes)
    outside = []
    for axis, whole in enumerate(lines.positions):
        position = (whole[part] if axis == 0 else whole).to(data.device)
        length = values.shape[axis]
        inside = position.clamp(0, length - 1)
        below = inside.long().clamp(max=max(length - 2, 0))
        above = (below + 1).clamp(max=length - 1)
        weight = (inside - below).float()
        values = torch.lerp(
            _picked(values, axis, below).float(),
            _picked(values, axis, above).float(),
            _lying_along(axis, weight),
        )
        normalised = (2 * position + 1) / length - 1
        outside.append((normalised.abs() > 1 + _EDGE).nonzero()[:, 0])
    for axis, index in enumerate(outside):
        values.index_fill_(axis, index, fill)
    return values


def _picked(array: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """Whole lines at a time, but not where these are single voxels, which gather moves faster."""
    if array.stride(axis) != 1:
        return array.index_select(axis, index)
    shape = [len(index) if i == axis else n for i, n in enumerate(array.shape)]
    return array.gather(axis, _lying_along(axis, index).expand(shape))


def _lying_along(axis: int, values: torch.Tensor) -> torch.Tensor:
    return values.reshape([-1 if i == axis else 1 for i in range(3)])


def sampling_points(source: Grid, target: Grid, device: torch.device) -> torch.Tensor:
    """Return torch's sampling points (1, slice, row, column, xyz) of the target in the source."""
    theta = points_from_mm(source) @ np.linalg.inv(points_from_mm(target))
    matrix = torch.from_numpy(theta[:3]).float().to(device)[None]
    return functional.affine_grid(matrix, [1, 1, *target.shape], align_corners=False)


def points_from_mm(grid: Grid) -> NDArray[np.float64]:
    """Return the (4, 4) matrix from (x, y, z, 1) in mm, LPS, to torch's points (x, y, z, 1).

    Their x runs along the columns; -1 and 1 are the outer edges of the grid's voxels.
    """
    count = np.array(grid.shape, dtype=np.float64)
    normalising = np.diag([*(2 / count), 1.0])
    normalising[:3, 3] = 1 / count - 1
    return np.asarray((normalising @ np.linalg.inv(grid.affine))[[2, 1, 0, 3]])


def _reach(source: Grid, target: Grid) -> Box:
    """The source's box that the target lies in, two of the target's voxels wider."""
    margin = 2 + 2 * target.spacing_mm.max() / source.spacing_mm
    return source.box_around(target.corners_mm(), margin)


def block_averaged(
    array: torch.Tensor, source: Grid, spacing_mm: float
) -> tuple[torch.Tensor, Grid]:
    """Average whole blocks of voxels along the axes where the source is at least twice as fine."""
    factor = np.maximum(1, np.floor(spacing_mm / source.spacing_mm + 0.05)).astype(int)
    factor = np.minimum(factor, source.shape)
    if (factor == 1).all():
        return array, source
    z, y, x = (-(-n // int(f)) for n, f in zip(source.shape, factor, strict=True))
    averaged = torch.empty((z, y, x), dtype=torch.float32, device=array.device)
    per_slab = max(1, _SLAB_VOXELS // int(factor[0] * source.shape[1] * source.shape[2]))
    for start in range(0, z, per_slab):  # the whole array is never held in float32
        slab = array[start * factor[0] : (start + per_slab) * factor[0]].float()
        averaged[start : start + per_slab] = functional.avg_pool3d(
            slab[None, None],
            (min(int(factor[0]), len(slab)), int(factor[1]), int(factor[2])),
            ceil_mode=True,
            count_include_pad=False,
        )[0, 0]
    affine = source.affine.copy()
    affine[:3, 3] = source.to_mm((factor - 1) / 2)
    affine[:3, :3] = affine[:3, :3] * factor
    return averaged, Grid((z, y, x), affine)
