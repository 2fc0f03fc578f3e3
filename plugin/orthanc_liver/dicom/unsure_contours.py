"""Where the networks are unsure, as contours on the CT's slices."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch

from liver_unet.liver import Unsure
from liver_unet.resample import resample
from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.contours import Contour, points_on_slice, polygons_of

# Of a pixel. Contours are told in whole numbers, which are shorter.
_PARTS = 100


def unsure_contours(unsure: Unsure, ct: Grid) -> dict[int, list[list[int]]]:
    """By slice from 0: column, row, column, row ... in parts of the CT's pixels.

    Traced with the coarser pixels of the mask, for there is no more to see.
    """
    points_mm = unsure.grid.to_mm(np.argwhere(unsure.mask).astype(float))
    around = np.ceil(unsure.grid.spacing_mm / ct.spacing_mm)
    box = ct.box_around(points_mm, around)
    slices, *plane = (part.stop - part.start for part in box)
    finer = unsure.grid.spacing_mm[1:] / ct.spacing_mm[1:]
    rows, columns = (max(1, round(n / by)) for n, by in zip(plane, finer, strict=True))
    grid = ct.cropped(box).resized((slices, rows, columns))
    share = resample(torch.from_numpy(unsure.mask).float(), unsure.grid, grid, fill=0.0).numpy()
    found = {}
    for number, plane in enumerate(share):
        contours = []
        for polygon in polygons_of(plane):
            at = np.column_stack([np.full(len(polygon), float(number)), polygon])
            pixels = ct.to_index(grid.to_mm(at))[:, :0:-1]
            contours.append(np.rint(_PARTS * pixels).astype(int).ravel().tolist())
        if contours:
            found[number + box[0].start] = contours
    return found


def as_contours(found: Mapping[int, list[list[int]]], ct: Volume) -> list[Contour]:
    """In mm, for an ROI; found: as unsure_contours tells it, by the CT's own slices."""
    contours = []
    for number, polygons in sorted(found.items()):
        for polygon in polygons:
            pixels = np.array(polygon, dtype=float).reshape(-1, 2)[:, ::-1] / _PARTS
            points_mm = points_on_slice(pixels, ct.own_slices[number], ct.grid)
            contours.append(Contour(number, points_mm))
    return contours


def as_text(job: str, contours: dict[int, list[list[int]]]) -> bytes:
    """As the page gets it."""
    told = {"Job": job, "PartsOfPixel": _PARTS, "Slices": contours}
    return json.dumps(told, separators=(",", ":")).encode()
