"""How sure the networks are of an outline, where they are not, and what that meant before.

Of what was tried on outlines of known error, two shares of the probability told bad ones from good
ones best, and cost nothing; a second network that disagrees tells as much (see model/README.md).
They are measured on voxels of one size, so that a CT's own do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from liver_unet.grade import Doubt, Grade, Region, measured_signals
from liver_unet.liver import Liver, Unsure, end_name
from liver_unet.volume import Grid, Volume
from liver_unet.weights import Calibration

_VOXEL_MM = 2.5
_UNSURE = (0.1, 0.9)
# A thin rind of doubt surrounds every outline: what a cube of so many voxels fits into is thick.
_THICK_VOXELS = 3


# Where weights were not calibrated: what an earlier pair of networks taught.
_UNCALIBRATED = Calibration(
    limits={
        "unsure_share": (0.06, 0.10),
        "wrong_share": (0.10, 0.14),
        "disagreement": (0.10, 0.20),
    },
    counts={},
    measured_on="",
)
_SAID = {
    "unsure_share": "the network is unsure of {:.0f} % of the volume",
    "wrong_share": "{:.0f} % of the volume may be wrong",
    "disagreement": "two networks differ by {:.0f} %",
}
_MOST_REGIONS = 3
_LEAST_REGION_ML = 2.0
# Fat within a liver lies above, lung and the fat around it below.
_DARK_HU, _MOST_DARK = 0.0, 0.1
_BODY_HU = -200.0


@dataclass(frozen=True, eq=False)
class Signals:
    """What tells a bad outline from a good one; each grows with the doubt.

    unsure_share: of the outline's volume, where the network was thickly unsure.
    wrong_share: of the outline's volume, what the probability expects to be wrong, either way.
    disagreement: 1 - Dice with the coarse network's liver; None without one.
    unsure: (slice, row, column) on grid, where the network was thickly unsure.
    """

    unsure_share: float
    wrong_share: float
    disagreement: float | None
    unsure: NDArray[np.bool_]
    grid: Grid

    @property
    def shares(self) -> dict[str, float]:
        """Those that were measured, by name."""
        return measured_signals(self)

    @cached_property
    def regions(self) -> tuple[NDArray[np.bool_], ...]:
        """Of unsure, the regions that are told, the largest first."""
        labels, count = cc3d.connected_components(self.unsure, connectivity=26, return_N=True)
        voxels = np.bincount(labels.ravel(), minlength=count + 1)
        largest = 1 + np.argsort(-voxels[1:])[:_MOST_REGIONS]
        return tuple(
            np.asarray(labels == label)
            for label in largest
            if float(voxels[label]) * self.grid.voxel_ml >= _LEAST_REGION_ML
        )


def signals_of(
    probability: torch.Tensor, liver: NDArray[np.bool_], grid: Grid, second_opinion: float | None
) -> Signals:
    """Measure an outline by P(liver) before any cleaning, both on grid; liver is not empty.

    second_opinion: its Dice with what another network saw.
    """
    sizes = zip(grid.shape, grid.spacing_mm, strict=True)
    size = [max(1, min(n, round(n * mm / _VOXEL_MM))) for n, mm in sizes]
    p = functional.interpolate(probability.float()[None, None], size, mode="area")[0, 0]
    coarser = grid.resized((size[0], size[1], size[2]))
    low, high = _UNSURE
    unsure = ((p > low) & (p < high)).cpu().numpy()
    thick = ndimage.binary_opening(unsure, np.ones((_THICK_VOXELS,) * 3, dtype=bool))
    liver_ml = float(np.count_nonzero(liver)) * grid.voxel_ml
    wrong_ml = float(torch.minimum(p, 1 - p).sum()) * coarser.voxel_ml
    return Signals(
        unsure_share=float(np.count_nonzero(thick)) * coarser.voxel_ml / liver_ml,
        wrong_share=wrong_ml / liver_ml,
        disagreement=None if second_opinion is None else 1 - second_opinion,
        unsure=np.asarray(thick),
        grid=coarser,
    )


def doubt_about(
    liver: Liver, ct: Volume, signals: Signals, calibration: Calibration | None
) -> Doubt:
    """Grade an outline; without a calibration by what other networks' signals meant."""
    rule = _rule(signals, calibration or _UNCALIBRATED)
    grade, look_at = grade_of(signals.shares, rule), _regions(signals, ct)
    where = _where(look_at, ct.grid)
    reasons = [] if grade is Grade.SURE else [_sentence(grade, signals.shares, where, rule)]
    if liver.left_out:
        grade = max(grade, Grade.LOOK)
    if (dark := _dark_share(liver, ct)) > _MOST_DARK:
        grade = max(grade, Grade.LOOK)
        reasons.append(
            f"{100 * dark:.0f} % of the outline is darker than {_DARK_HU:.0f} HU: look for lung "
            "or fat in it"
        )
    if _is_on_the_left(liver, ct):
        grade = Grade.DOUBTFUL
        reasons.append(
            "the outline lies on the patient's left: check whether the CT is mirrored, and the "
            "outline"
        )
    return Doubt(grade, signals.shares, tuple(reasons), look_at)


def _rule(signals: Signals, calibration: Calibration) -> Calibration:
    """A signal that the calibration did not have (a coarse network that came later) is heard all
    the same; what the calibration counted is then not like this."""
    if signals.shares.keys() <= calibration.limits.keys():
        return calibration
    limits = {**_UNCALIBRATED.limits, **calibration.limits}
    return replace(calibration, limits=limits, counts={})


def grade_of(shares: Mapping[str, float], rule: Calibration) -> Grade:
    """The worst that any signal says."""
    levels = [
        sum(share >= limit for limit in rule.limits.get(name, ())) for name, share in shares.items()
    ]
    return Grade(max(levels, default=0))


def _sentence(grade: Grade, shares: Mapping[str, float], where: str, rule: Calibration) -> str:
    said = [
        _SAID[name].format(100 * share)
        for name, share in shares.items()
        if share >= rule.limits[name][0]
    ]
    if found := rule.counts.get(grade.word):
        said.append(f"of {found[1]} outlines like this {found[0]} were wrong")
    if where:
        said.append(where)
    word = "doubtful" if grade is Grade.DOUBTFUL else "to be looked at"
    return f"the outline is {word}: {'; '.join(said)}"


def _where(look_at: tuple[Region, ...], ct: Grid) -> str:
    """Programs count slices from either end."""
    if not look_at:
        return ""
    slices = " and ".join(str(one) for one in look_at)
    return f"look first at slices {slices}, counted from the {end_name(ct, 0, -1)}"


def where_unsure(signals: Signals) -> Unsure | None:
    """All that Doubt.look_at names; None where that is nothing."""
    regions = signals.regions
    return Unsure(np.logical_or.reduce(regions), signals.grid) if regions else None


def _regions(signals: Signals, ct: Volume) -> tuple[Region, ...]:
    found = []
    for region in signals.regions:
        along = ct.grid.box_around(signals.grid.to_mm(np.argwhere(region).astype(float)))[0]
        ml = float(np.count_nonzero(region)) * signals.grid.voxel_ml
        found.append(Region(ct.number_of(along.start), ct.number_of(along.stop - 1), ml))
    return tuple(found)


def _dark_share(liver: Liver, ct: Volume) -> float:
    return float((ct.hu[liver.box][liver.mask] < _DARK_HU).mean())


def _is_on_the_left(liver: Liver, ct: Volume) -> bool:
    """Whether more of the outline lies to the left of the body's middle, on the outline's slices
    of the CT; x points to the patient's left."""
    slices = liver.box[0]
    body = ct.grid.cropped((slices, slice(0, ct.grid.shape[1]), slice(0, ct.grid.shape[2])))
    step = (slice(None, None, 4),) * 3
    middle_mm = body.to_mm(_middle(ct.hu[slices][step] > _BODY_HU) * 4.0)[0]
    return bool(liver.grid.to_mm(_middle(liver.mask))[0] > middle_mm)


def _middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean index, without a list of all that are in it."""
    along = [mask.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    return np.array([np.average(np.arange(len(counts)), weights=counts) for counts in along])
