"""One case: the network's contour and, if given, another one, each against the reference."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from liver_unet.fallback import segment_or_fall_back
from liver_unet.liver import NoLiver, no_liver_because
from liver_unet.metrics import agreement, dice, has_right_angles
from liver_unet.nifti import write_nifti
from liver_unet.overlay import Outline, planes_png
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Grid, Volume, fullest_sections
from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.roi_choice import EmptyOutline, OutlineRefused, RoiChoice
from orthanc_liver.evaluation.case_list import ListedCase
from orthanc_liver.evaluation.glass import glass_mbq
from orthanc_liver.evaluation.outlines import Contour, read_contour
from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.activity import volume_warnings
from orthanc_liver.sirt.inputs import ActivityRefused, check_parts, read_inputs

REFERENCE_RGB, NETWORK_RGB, OTHER_RGB = (0, 220, 90), (255, 64, 64), (90, 150, 255)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """One contour (A) against the reference (B). Ratios are A / B, differences A - B.

    A liver missed altogether has the volume 0. Distances and surface Dice are None there and on
    the grid of a tilted CT. resin: by body surface area; None where the patient's numbers were not
    given, or contradict the volume found. Glass: one compartment at 120 Gy, which goes with the
    volume.
    """

    liver_ml: float
    dsc: float
    mda_mm: float | None
    hd95_mm: float | None
    surface_dice_2mm: float | None
    rv: float
    difference_ml: float
    difference_percent: float
    ra_resin: float | None
    difference_resin_mbq: float | None
    ra_glass: float
    difference_glass_mbq: float


def measure_case(case: ListedCase, segmenter: Segmenter | None, folder: Path) -> dict[str, Any]:
    """Return the result in JSON's own types; leave network.nii.gz and overlay.png in folder.

    segmenter: None measures the other contour alone. Raises LiverError or ValueError where the
    case cannot be measured.
    """
    series = read_ct(case.ct, case.series)
    ct = series.volume
    drawn, drawn_too = _reference(case, series), _other(case, series)
    reference, other = drawn.mask, drawn_too.mask if drawn_too else None
    network, warnings = _by_network(ct, segmenter) if segmenter else (None, ())
    for what, contour in (("reference", drawn), ("other contour", drawn_too)):
        warnings += tuple(f"The {what}: {one}." for one in (contour.warnings if contour else ()))
    if not has_right_angles(ct.grid):
        warnings += ("The CT is tilted: distances were not measured.",)
    folder.mkdir(parents=True, exist_ok=True)
    if network is not None:
        write_nifti(folder / "network.nii.gz", network.astype(np.uint8), ct.grid)
    shown_in = ((reference, REFERENCE_RGB), (other, OTHER_RGB), (network, NETWORK_RGB))
    outlines = [
        Outline(mask.astype(np.float32), ct.grid, rgb) for mask, rgb in shown_in if mask is not None
    ]
    shown = network if network is not None else other
    centre_mm = ct.grid.to_mm(_where_most_wrong(shown, reference))
    (folder / "overlay.png").write_bytes(planes_png(ct, outlines, centre_mm))
    return {
        "reference_ml": float(np.count_nonzero(reference)) * ct.grid.voxel_ml,
        "reference_outline": drawn.chosen,
        "other_outline": drawn_too.chosen if drawn_too else "",
        "age_years": _age_years(series.header),
        "warnings": [*series.warnings, *warnings],
        "network": _figures(network, reference, ct.grid, case),
        "other": _figures(other, reference, ct.grid, case),
    }


def _age_years(header: Dataset) -> float | None:
    """Where the CT says it, at the time of its study."""
    stated = re.fullmatch(r"(\d{3})([YMWD])", str(header.get("PatientAge") or ""))
    if stated:
        return int(stated[1]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[stated[2]]
    try:
        born, seen = (
            date.fromisoformat(str(header.get(name))) for name in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    return (seen - born).days / 365.25


def _by_network(ct: Volume, segmenter: Segmenter) -> tuple[Mask, tuple[str, ...]]:
    computed = segment_or_fall_back(segmenter, ct, Stages())
    found, warnings = computed.found, computed.warnings
    if isinstance(found, NoLiver):
        why = f"The network found no liver: {found.reason}."
        return np.zeros(ct.grid.shape, dtype=bool), (*warnings, why)
    return found.mask_on_ct(), (
        *warnings,
        *found.warnings,
        *volume_warnings(found.volume_ml),
    )


def _reference(case: ListedCase, ct: CtSeries) -> Contour:
    found = read_contour(case.reference, RoiChoice.of(case.roi), ct)
    if why := no_liver_because(found.mask, ct.volume.grid):
        raise OutlineRefused(f"{case.reference} {why}")
    return found


def _other(case: ListedCase, ct: CtSeries) -> Contour | None:
    if not case.other:
        return None
    try:
        return read_contour(case.other, RoiChoice.of(case.other_roi), ct)
    except EmptyOutline as empty:
        return Contour(np.zeros(ct.volume.grid.shape, dtype=bool), "nothing", (str(empty),))


def _figures(
    mask: Mask | None, reference: Mask, grid: Grid, case: ListedCase
) -> dict[str, Any] | None:
    return None if mask is None else asdict(_measured(mask, reference, grid, case))


def _measured(mask: Mask, reference: Mask, grid: Grid, case: ListedCase) -> Measured:
    surfaces = None
    if mask.any() and has_right_angles(grid):
        surfaces = agreement(mask, reference, grid)
    found_ml, true_ml = (float(np.count_nonzero(m)) * grid.voxel_ml for m in (mask, reference))
    found_mbq, true_mbq = (glass_mbq(ml) for ml in (found_ml, true_ml))
    ra_resin = difference_resin_mbq = resin_mbq = None
    true_resin_mbq = _resin_mbq(true_ml, case)
    # A volume found that contradicts the patient's numbers is a bad result, not a bad case.
    with suppress(ActivityRefused):
        resin_mbq = _resin_mbq(found_ml, case)
    if resin_mbq is not None and true_resin_mbq is not None:
        ra_resin, difference_resin_mbq = resin_mbq / true_resin_mbq, resin_mbq - true_resin_mbq
    return Measured(
        liver_ml=found_ml,
        dsc=dice(mask, reference),
        mda_mm=surfaces.mda_mm if surfaces else None,
        hd95_mm=surfaces.hd95_mm if surfaces else None,
        surface_dice_2mm=surfaces.surface_dice if surfaces else None,
        rv=found_ml / true_ml,
        difference_ml=found_ml - true_ml,
        difference_percent=100 * (found_ml / true_ml - 1),
        ra_resin=ra_resin,
        difference_resin_mbq=difference_resin_mbq,
        ra_glass=found_mbq / true_mbq,
        difference_glass_mbq=found_mbq - true_mbq,
    )


def _resin_mbq(liver_ml: float, case: ListedCase) -> float | None:
    if case.tumour_ml is None or case.height_m is None or case.weight_kg is None:
        return None
    given = {"TumourMl": case.tumour_ml, "HeightM": case.height_m, "WeightKg": case.weight_kg}
    check_parts(read_inputs(given | {"LiverMl": liver_ml}))
    bsa = formulas.bsa_m2(case.height_m, case.weight_kg)
    return 1000 * formulas.resin_gbq(bsa, case.tumour_ml, liver_ml)


def _where_most_wrong(mask: Mask | None, reference: Mask) -> NDArray[np.float64]:
    """The (slice, row, column) whose three planes hold the most voxels in which the two differ."""
    wrong = reference if mask is None else mask ^ reference
    wrong = wrong if wrong.any() else reference
    return np.array(fullest_sections(wrong), dtype=np.float64)
