"""The picture a person looks at first: three planes through the liver with its outline."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from liver_unet.liver import Liver, is_liver
from liver_unet.picture import edge_of, grey_of
from liver_unet.resample import resample
from liver_unet.volume import AIR_HU, Grid, Volume, fullest_sections

_OUTLINE_RGB = (255, 64, 64)
_STEP_MM = 1.0
_GAP_PIXELS = 6


Rgb = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Outline:
    """What to draw around: values (slice, row, column) on a grid, inside where above 0.5."""

    values: NDArray[np.float32]
    grid: Grid
    colour: Rgb


def overlay_png(volume: Volume, liver: Liver) -> bytes:
    """Return a PNG: three planes through where the liver's largest sections meet."""
    middle_mm = liver.grid.to_mm(np.array(fullest_sections(liver.mask), dtype=np.float64))
    outline = Outline(liver.probability, liver.grid, _OUTLINE_RGB)
    return planes_png(volume, [outline], middle_mm)


def planes_png(
    volume: Volume, outlines: Sequence[Outline], centre_mm: NDArray[np.float64]
) -> bytes:
    """Return a PNG: axial, coronal and sagittal planes through a point.

    Radiological convention: the patient's right on the picture's left, head up, front up.
    """
    corners_mm = volume.grid.corners_mm()
    low_mm, high_mm = corners_mm.min(axis=0), corners_mm.max(axis=0)
    step_x, step_y, step_z = np.eye(3) * _STEP_MM
    planes = [
        _plane(low_mm, high_mm, centre_mm, across=2, down=step_y, right=step_x),
        _plane(low_mm, high_mm, centre_mm, across=1, down=-step_z, right=step_x),
        _plane(low_mm, high_mm, centre_mm, across=0, down=-step_z, right=step_y),
    ]
    pictures = [_picture(volume, outlines, plane) for plane in planes]
    height = max(p.shape[0] for p in pictures)
    columns = []
    for picture in pictures:
        below = height - picture.shape[0]
        columns.append(np.pad(picture, ((0, below), (0, _GAP_PIXELS), (0, 0))))
    png = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(png, "PNG")
    return png.getvalue()


def _plane(
    low_mm: NDArray[np.float64],
    high_mm: NDArray[np.float64],
    centre_mm: NDArray[np.float64],
    *,
    across: int,
    down: NDArray[np.float64],
    right: NDArray[np.float64],
) -> Grid:
    """A grid one slice thick, seen as a picture whose rows go down and columns go right."""
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([np.eye(3)[across] * _STEP_MM, down, right])
    origin = np.where(down + right < 0, high_mm, low_mm)
    origin[across] = centre_mm[across]
    affine[:3, 3] = origin
    size_mm = high_mm - low_mm
    rows = int(size_mm @ np.abs(down) / _STEP_MM**2) + 1
    columns = int(size_mm @ np.abs(right) / _STEP_MM**2) + 1
    return Grid((1, rows, columns), affine)


def _picture(volume: Volume, outlines: Sequence[Outline], plane: Grid) -> NDArray[np.uint8]:
    hu = resample(torch.from_numpy(volume.hu), volume.grid, plane, fill=AIR_HU)[0]
    grey = grey_of(hu.numpy())
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    for one in outlines:
        values = resample(torch.from_numpy(one.values), one.grid, plane, fill=0.0)[0]
        picture[edge_of(is_liver(values.numpy()))] = one.colour
    return picture
