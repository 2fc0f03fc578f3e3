"""The made-up abdomen in other orientations, small, and a head: what tests need beside it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liver_unet.phantom import ROOM_HU, Canvas, Phantom, abdomen, scanned
from liver_unet.volume import Grid, Volume

__all__ = ["ORIENTATIONS", "Orientation", "Phantom", "abdomen", "head", "oriented", "small_abdomen"]

Orientation = Literal[
    "HFS", "FFS", "HFP", "FFP", "oblique", "tilted", "reversed", "sagittal", "coronal"
]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)


def small_abdomen(seed: int = 1) -> Phantom:
    """Return the same patient in 24 coarse slices, for tests that need no detail."""
    return abdomen((24, 70, 92), (12.5, 4.6, 4.2), seed)


def head(
    shape: tuple[int, int, int] = (40, 62, 54), spacing_mm: tuple[float, float, float] = (5, 4, 3.8)
) -> Volume:
    """Return a head on its neck: skin, skull, brain, ventricles, sinuses; as `abdomen` lies."""
    canvas = Canvas(shape, spacing_mm)
    for radii, hu in (((78, 98, 92), 40), ((72, 92, 86), 900), ((66, 86, 80), 36)):
        canvas.hu[canvas.ellipsoid((2, 4, 8), radii, 0.02)] = hu
    canvas.hu[canvas.ellipsoid((-4, 4, 18), (12, 32, 14))] = 8
    canvas.hu[canvas.ellipsoid((0, -62, -48), (22, 16, 18))] = -950
    canvas.hu[canvas.tube((0, 30, -110), (0, 24, -60), 52)] = 45
    canvas.hu[canvas.tube((0, 44, -110), (0, 36, -60), 14)] = 400
    return Volume(scanned(canvas.hu, spacing_mm, np.random.default_rng(2)), canvas.grid)


def oriented(phantom: Phantom, orientation: Orientation) -> Phantom:
    """Return the same patient as if stored in another orientation; the truth moves along.

    phantom must be as `abdomen` returns it. HFS, FFS, HFP and FFP keep the patient in place and
    run rows, columns and slices as a scanner does for a patient lying so. "reversed": slices
    against row x column. "tilted": sheared by a gantry tilt. "oblique": turned about every axis.
    """
    if orientation in ("oblique", "tilted"):
        return _resampled(phantom, _turned_grid(phantom.volume.grid, orientation))
    # The source axis behind each new (slice, row, column) axis, and whether it runs backwards.
    axes, backwards = {
        "HFS": ((0, 1, 2), (False, False, False)),
        "FFS": ((0, 1, 2), (True, False, True)),
        "HFP": ((0, 1, 2), (False, True, True)),
        "FFP": ((0, 1, 2), (True, True, False)),
        "reversed": ((0, 1, 2), (True, False, False)),
        "sagittal": ((2, 0, 1), (False, True, False)),
        "coronal": ((1, 0, 2), (False, True, False)),
    }[orientation]
    return _reindexed(phantom, axes, backwards)


def _reindexed(
    phantom: Phantom, axes: tuple[int, int, int], backwards: tuple[bool, bool, bool]
) -> Phantom:
    source = phantom.volume.grid
    shape = tuple(source.shape[a] for a in axes)
    to_source = np.zeros((4, 4))
    to_source[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, backwards, strict=True)):
        to_source[old, new] = -1 if flip else 1
        to_source[old, 3] = source.shape[old] - 1 if flip else 0
    step = tuple(slice(None, None, -1 if flip else 1) for flip in backwards)
    grid = Grid((shape[0], shape[1], shape[2]), source.affine @ to_source)
    moved = (
        np.ascontiguousarray(array.transpose(axes)[step])
        for array in (phantom.volume.hu, phantom.liver, phantom.tumours)
    )
    hu, liver, tumours = moved
    return Phantom(Volume(hu.astype(np.int16), grid), liver.astype(bool), tumours.astype(bool))


def _turned_grid(source: Grid, orientation: Orientation) -> Grid:
    """Turn the source's grid about its centre, or tilt only its planes as a gantry does."""
    linear = source.affine[:3, :3]
    if orientation == "tilted":
        turned = linear.copy()
        turned[:, 1] = _rotation(0, 17) @ linear[:, 1]
    else:
        turned = _rotation(0, 14) @ _rotation(1, -9) @ _rotation(2, 23) @ linear
    centre = (np.array(source.shape) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = turned
    affine[:3, 3] = source.to_mm(centre) - turned @ centre
    return Grid(source.shape, affine)


def _rotation(axis: int, degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix


def _resampled(phantom: Phantom, target: Grid) -> Phantom:
    matrix = np.linalg.inv(phantom.volume.grid.affine) @ target.affine

    def moved(array: NDArray[np.generic], outside: float) -> NDArray[np.float32]:
        return ndimage.affine_transform(
            array.astype(np.float32), matrix, output_shape=target.shape, order=1, cval=outside
        )

    hu = np.rint(moved(phantom.volume.hu, ROOM_HU)).astype(np.int16)
    liver = moved(phantom.liver, 0) > 0.5
    tumours = moved(phantom.tumours, 0) > 0.5
    return Phantom(Volume(hu, target), liver, tumours & liver)
