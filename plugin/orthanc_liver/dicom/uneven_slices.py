"""A CT of runs of slices, each run of one spacing: what lies between them, interpolated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from liver_unet.volume import Volume
from orthanc_liver.dicom.geometry import ImagePlane, positions_of
from orthanc_liver.sirt.slice_places import runs_of

Mask = NDArray[np.bool_]


def note_on_runs(planes: Sequence[ImagePlane], places: Sequence[int], step_mm: float) -> str:
    """What the report says of them. places: of the planes; step_mm: from one place to the next."""
    runs = runs_of((positions_of(planes) @ planes[0].normal).tolist())
    told = ", then ".join(f"{run.gaps} of {run.spacing_mm:.4g} mm" for run in runs)
    return (
        f"The slices are unevenly spaced (gaps: {told}): {places[-1] + 1 - len(places)} slices "
        f"were interpolated, so that all are {step_mm:.4g} mm apart; the outline is drawn on the "
        "CT's own. Check it where the spacing changes."
    )


def interpolate_hu(hu: NDArray[np.int16] | NDArray[np.float32], places: Sequence[int]) -> None:
    """Fill the slices between those at places, which are there already."""
    for below, above in pairwise(places):
        for between in range(below + 1, above):
            share = np.float32((between - below) / (above - below))
            mixed = hu[below] * (1 - share) + hu[above] * share
            hu[between] = np.rint(mixed) if hu.dtype == np.int16 else mixed


def interpolate_mask(mask: Mask, ct: Volume) -> Mask:
    """Fill what lies between the CT's own slices of an outline that was drawn on them alone."""
    return fill_between(mask, ct.measured, ct) if ct.measured else mask


def fill_between(mask: Mask, drawn: Sequence[int], ct: Volume) -> Mask:
    """Fill what lies between slices that something is drawn on; drawn: these, ascending."""
    filled = mask.copy()
    for below, above in pairwise(drawn):
        if above == below + 1:
            continue
        depths_mm = [_depth_mm(mask[one], ct) for one in (below, above)]
        for between in range(below + 1, above):
            share = (between - below) / (above - below)
            filled[between] = _between(depths_mm, share, mask[below], mask[above])
    return filled


def _between(
    depths_mm: Sequence[NDArray[np.float64]], share: float, lower: Mask, upper: Mask
) -> Mask:
    """By the depth below the surface; where the outline ends, to the middle of the gap."""
    if lower.any() and upper.any():
        return np.asarray(depths_mm[0] * (1 - share) + depths_mm[1] * share > 0)
    return lower if share <= 0.5 else upper


def _depth_mm(plane: Mask, ct: Volume) -> NDArray[np.float64]:
    """How far inside; negative outside."""
    spacing_mm, padded = ct.grid.spacing_mm[1:], np.pad(plane, 1)  # something is outside
    inside = distance_transform_edt(padded, sampling=spacing_mm)
    depth_mm = inside - distance_transform_edt(~padded, sampling=spacing_mm)
    return np.asarray(depth_mm[1:-1, 1:-1])
