"""Our outline of a liver against the one that a physician drew on the same CT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liver_unet.metrics import agreement, dice, has_right_angles
from liver_unet.volume import Volume
from orthanc_liver.engine.protocol import Agreement
from orthanc_liver.evaluation.glass import glass_mbq
from orthanc_liver.evaluation.outlines import Contour

Mask = NDArray[np.bool_]


def agreement_of(ours: Mask, theirs: Contour, ct: Volume) -> Agreement:
    """Both masks on the CT's grid; neither may be empty."""
    voxel_ml = ct.grid.voxel_ml
    ours_ml, theirs_ml = (float(np.count_nonzero(m)) * voxel_ml for m in (ours, theirs.mask))
    worst, worst_ml = _worst_slice(ours ^ theirs.mask, ct)
    is_measurable = has_right_angles(ct.grid)
    return Agreement(
        dsc=dice(ours, theirs.mask),
        mda_mm=agreement(ours, theirs.mask, ct.grid).mda_mm if is_measurable else None,
        rv=ours_ml / theirs_ml,
        ra=glass_mbq(ours_ml) / glass_mbq(theirs_ml),
        ours_ml=ours_ml,
        theirs_ml=theirs_ml,
        worst_slice=worst,
        worst_ml=worst_ml,
        warnings=theirs.warnings,
    )


def _worst_slice(differing: Mask, ct: Volume) -> tuple[int, float]:
    """The number of the CT's own slice around which they differ most, and by how much."""
    by_slice: dict[int, float] = {}
    for index, count in enumerate(np.count_nonzero(differing, axis=(1, 2)).tolist()):
        number = ct.number_of(index)
        by_slice[number] = by_slice.get(number, 0.0) + count * ct.grid.voxel_ml
    worst = max(by_slice, key=lambda number: by_slice[number])
    return worst, by_slice[worst]
