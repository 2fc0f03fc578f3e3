"""How well two masks of one liver agree, by MONAI's metrics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from liver_unet.volume import Grid, box_of
from liver_unet.without_pictures import without_pictures

with without_pictures():
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Agreement:
    """A is the mask under test, B the reference; surfaces are the masks' outermost voxels.

    dsc: 2 |A n B| / (|A| + |B|).  volume_ratio: |A| / |B|.
    mda_mm: every surface voxel's distance to the other surface, averaged over both surfaces' voxels
    together.  hd95_mm: the larger of the two directed 95th percentiles of these distances.
    surface_dice: the share of both surfaces that lies within 2 mm of the other.
    """

    dsc: float
    volume_ratio: float
    mda_mm: float
    hd95_mm: float
    surface_dice: float


def agreement(mask: NDArray[np.bool_], reference: NDArray[np.bool_], grid: Grid) -> Agreement:
    """Compare two masks (slice, row, column) on one grid whose axes are at right angles.

    ValueError for a sheared grid, where these distances would be wrong, and for an empty mask.
    """
    if not has_right_angles(grid):
        raise ValueError("surface distances need a grid whose axes are at right angles")
    if not mask.any() or not reference.any():
        raise ValueError("an empty mask has no surface to measure from")
    # The surface distances need a rim of voxels that are in neither.
    box = box_of(mask | reference, margin=2)
    one, other = (torch.from_numpy(m[box].astype(np.float32)) for m in (mask, reference))
    # MONAI compares batches of channels and would leave out the first one as background.
    pair: dict[str, Any] = {
        "y_pred": one[None, None],
        "y": other[None, None],
        "include_background": True,
        "spacing": [float(s) for s in grid.spacing_mm],
    }
    with warnings.catch_warnings():
        # MONAI 1.6 warns of how its own metrics call each other.
        warnings.simplefilter("ignore", FutureWarning)
        return _measured(mask, reference, pair)


def _measured(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], pair: dict[str, Any]
) -> Agreement:
    return Agreement(
        dsc=dice(mask, reference),
        volume_ratio=float(np.count_nonzero(mask) / np.count_nonzero(reference)),
        mda_mm=float(compute_average_surface_distance(**pair, symmetric=True)),
        hd95_mm=float(compute_hausdorff_distance(**pair, percentile=95)),
        surface_dice=float(compute_surface_dice(**pair, class_thresholds=[_TOLERANCE_MM])),
    )


def has_right_angles(grid: Grid) -> bool:
    """Whether surface distances can be measured on it."""
    step = grid.affine[:3, :3] / grid.spacing_mm
    return bool(np.abs(step.T @ step - np.eye(3)).max() <= 1e-3)


def dice(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """DSC alone, of masks of any shape; at least one must not be empty."""
    both = np.count_nonzero(mask & reference)
    return float(2 * both / (np.count_nonzero(mask) + np.count_nonzero(reference)))
