"""One case: the network's contour and at will another one, each measured against the reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liver_unet.ct_nifti import MINIMUM_SLICES, read_ct_nifti
from liver_unet.metrics import agreement
from liver_unet.model_errors import VolumeRefused
from liver_unet.nifti import write_nifti
from liver_unet.overlay import Outline, planes_png
from liver_unet.segmenter import Segmenter, Stopwatch
from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.evaluation.case_list import ListedCase
from orthanc_liver.evaluation.outlines import read_contour
from orthanc_liver.liver_errors import LiverError, SeriesRefused
from orthanc_liver.pipeline import doubts_about
from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.inputs import check_parts, read_inputs

GLASS_DOSE_GY = 120.0
REFERENCE_RGB, NETWORK_RGB, OTHER_RGB = (0, 220, 90), (255, 64, 64), (90, 150, 255)

Mask = NDArray[np.bool_]


class CaseFailed(LiverError):
    """There is nothing to measure."""


@dataclass(frozen=True)
class Measured:
    """One contour (A) against the reference (B). Ratios are A / B, differences A - B.

    resin: by body surface area; None where the patient's numbers were not given. Glass: one
    compartment at 120 Gy, which goes with the volume.
    """

    liver_ml: float
    dsc: float
    mda_mm: float
    hd95_mm: float
    surface_dice_2mm: float
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
    ct = read_ct(case.ct)
    reference = read_contour(case.reference, case.roi, ct.grid)
    other = read_contour(case.other, case.other_roi, ct.grid) if case.other else None
    network, warnings = _by_network(ct, segmenter) if segmenter else (None, ())
    folder.mkdir(parents=True, exist_ok=True)
    if network is not None:
        write_nifti(folder / "network.nii.gz", network.astype(np.uint8), ct.grid)
    drawn = ((reference, REFERENCE_RGB), (other, OTHER_RGB), (network, NETWORK_RGB))
    outlines = [
        Outline(mask.astype(np.float32), ct.grid, rgb) for mask, rgb in drawn if mask is not None
    ]
    shown = network if network is not None else other
    centre_mm = ct.grid.to_mm(_where_most_wrong(shown, reference))
    (folder / "overlay.png").write_bytes(planes_png(ct, outlines, centre_mm))
    return {
        "reference_ml": float(np.count_nonzero(reference)) * ct.grid.voxel_ml,
        "warnings": list(warnings),
        "network": _figures(network, reference, ct.grid, case),
        "other": _figures(other, reference, ct.grid, case),
    }


def _by_network(ct: Volume, segmenter: Segmenter) -> tuple[Mask, tuple[str, ...]]:
    liver = segmenter.segment(ct, lambda stage, fraction: None, Stopwatch())
    if liver is None:
        raise CaseFailed("the network found no liver")
    return liver.mask_on_ct(), liver.warnings


def _figures(
    mask: Mask | None, reference: Mask, grid: Grid, case: ListedCase
) -> dict[str, Any] | None:
    return None if mask is None else asdict(_measured(mask, reference, grid, case))


def read_ct(path: Path) -> Volume:
    """Read a folder of one DICOM series, or a NIfTI file; raises SeriesRefused."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and _is_dicom(p))
        series = read_ct_series((p.read_bytes() for p in files), min_slices=MINIMUM_SLICES)
        doubts_about(series)
        return series.volume
    try:
        return read_ct_nifti(path)[0]
    except VolumeRefused as refusal:
        raise SeriesRefused(str(refusal)) from refusal


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" and path.name != "DICOMDIR"


def _measured(mask: Mask, reference: Mask, grid: Grid, case: ListedCase) -> Measured:
    agreed = agreement(mask, reference, grid)
    found_ml, true_ml = (float(np.count_nonzero(m)) * grid.voxel_ml for m in (mask, reference))
    resin_mbq, true_resin_mbq = (_resin_mbq(ml, case) for ml in (found_ml, true_ml))
    glass_mbq, true_glass_mbq = (_glass_mbq(ml) for ml in (found_ml, true_ml))
    ra_resin = difference_resin_mbq = None
    if resin_mbq is not None and true_resin_mbq is not None:
        ra_resin, difference_resin_mbq = resin_mbq / true_resin_mbq, resin_mbq - true_resin_mbq
    return Measured(
        liver_ml=found_ml,
        dsc=agreed.dsc,
        mda_mm=agreed.mda_mm,
        hd95_mm=agreed.hd95_mm,
        surface_dice_2mm=agreed.surface_dice,
        rv=agreed.volume_ratio,
        difference_ml=found_ml - true_ml,
        difference_percent=100 * (found_ml / true_ml - 1),
        ra_resin=ra_resin,
        difference_resin_mbq=difference_resin_mbq,
        ra_glass=glass_mbq / true_glass_mbq,
        difference_glass_mbq=glass_mbq - true_glass_mbq,
    )


def _resin_mbq(liver_ml: float, case: ListedCase) -> float | None:
    if case.tumour_ml is None or case.height_m is None or case.weight_kg is None:
        return None
    given = {"TumourMl": case.tumour_ml, "HeightM": case.height_m, "WeightKg": case.weight_kg}
    check_parts(read_inputs(given | {"LiverMl": liver_ml}))
    bsa = formulas.bsa_m2(case.height_m, case.weight_kg)
    return 1000 * formulas.resin_gbq(bsa, case.tumour_ml, liver_ml)


def _glass_mbq(liver_ml: float) -> float:
    return 1000 * formulas.glass_gbq(GLASS_DOSE_GY, formulas.mass_kg(liver_ml), 0.0, 0.0)


def _where_most_wrong(mask: Mask | None, reference: Mask) -> NDArray[np.float64]:
    """The (slice, row, column) whose three planes hold the most voxels in which the two differ."""
    wrong = reference if mask is None else mask ^ reference
    wrong = wrong if wrong.any() else reference
    across = [tuple(i for i in range(3) if i != axis) for axis in range(3)]
    return np.array([float(np.argmax(wrong.sum(axis=axes))) for axes in across])
