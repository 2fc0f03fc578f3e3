"""Move arrays from one grid to another, through the affines and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from liver_unet.volume import Grid

_SLAB_VOXELS = 4_000_000


def canonical_grid(source: Grid, spacing_mm: float) -> Grid:
    """Return the smallest upright cubic-voxel grid that holds every voxel centre of the source.

    Its slices go to the head, its rows to the back, its columns to the left (LPS, ascending):
    the orientation the network is trained in.
    """
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in source.shape], indexing="ij"))
    points_mm = source.to_mm(corners.reshape(3, -1).T.astype(np.float64))
    low, high = points_mm.min(axis=0), points_mm.max(axis=0)
    count_xyz = np.ceil((high - low) / spacing_mm - 1e-6).astype(int) + 1
    first = (low + high - (count_xyz - 1) * spacing_mm) / 2
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = spacing_mm
    affine[:3, 3] = first
    affine[3, 3] = 1
    x, y, z = (int(n) for n in count_xyz)
    return Grid((z, y, x), affine)


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
    data, source = array[box].float(), source.cropped(box)
    if not nearest:
        data, source = block_averaged(data, source, float(target.spacing_mm.min()))
    data = data[None, None]
    per_slab = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], per_slab):
        stop = min(start + per_slab, target.shape[0])
        _, rows, columns = target.shape
        slab = target.cropped((slice(start, stop), slice(0, rows), slice(0, columns)))
        points = sampling_points(source, slab).to(data.device)
        values = functional.grid_sample(
            data,
            points,
            mode="nearest" if nearest else "bilinear",
            padding_mode="border",
            align_corners=False,
        )[0, 0]
        values[(points[0].abs() > 1 + 1e-4).any(dim=-1)] = fill
        yield slice(start, stop), values


def sampling_points(source: Grid, target: Grid) -> torch.Tensor:
    """Return torch's sampling points (1, slice, row, column, xyz) of the target in the source."""
    index_to_index = np.linalg.inv(source.affine) @ target.affine
    to_normalised = _normalising(source.shape)
    from_normalised = np.linalg.inv(_normalising(target.shape))
    theta = to_normalised @ index_to_index @ from_normalised
    reversed_axes = theta[[2, 1, 0]][:, [2, 1, 0, 3]]
    matrix = torch.from_numpy(np.ascontiguousarray(reversed_axes)).float()[None]
    return functional.affine_grid(matrix, [1, 1, *target.shape], align_corners=False)


def _reach(source: Grid, target: Grid) -> tuple[slice, slice, slice]:
    """The source's box that the target lies in, two of the target's voxels wider; never empty."""
    corners = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in target.shape])).reshape(3, -1).T
    index = source.to_index(target.to_mm(corners))
    margin = 2 + 2 * target.spacing_mm.max() / source.spacing_mm
    last = np.array(source.shape) - 1
    first = np.clip(np.floor(index.min(axis=0) - margin), 0, last).astype(int)
    end = np.clip(np.ceil(index.max(axis=0) + margin), 0, last).astype(int) + 1
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, end, strict=True))
    return z, y, x


def _normalising(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Matrix from indices to torch's coordinates: -1 and 1 are the outer edges of the voxels."""
    n = np.array(shape, dtype=np.float64)
    matrix = np.diag([*(2 / n), 1.0])
    matrix[:3, 3] = 1 / n - 1
    return matrix


def block_averaged(
    array: torch.Tensor, source: Grid, spacing_mm: float
) -> tuple[torch.Tensor, Grid]:
    """Average whole blocks of voxels along the axes where the source is at least twice as fine."""
    factor = np.maximum(1, np.floor(spacing_mm / source.spacing_mm + 0.05)).astype(int)
    factor = np.minimum(factor, source.shape)
    if (factor == 1).all():
        return array.float(), source
    pooled = functional.avg_pool3d(
        array.float()[None, None],
        [int(f) for f in factor],
        ceil_mode=True,
        count_include_pad=False,
    )[0, 0]
    affine = source.affine.copy()
    affine[:3, 3] = source.to_mm((factor - 1) / 2)
    affine[:3, :3] = affine[:3, :3] * factor
    z, y, x = (int(n) for n in pooled.shape)
    return pooled, Grid((z, y, x), affine)
