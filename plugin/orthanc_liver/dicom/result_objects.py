"""SEG and SR beside the RTSTRUCT: what they are made of, and in which order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.segmentation import build_segmentation
from orthanc_liver.dicom.structured_report import build_report


@dataclass(frozen=True, eq=False)
class Source:
    """What the objects tell of. mask: (slice, row, column) on the series' grid."""

    series: CtSeries
    mask: NDArray[np.bool_]
    provenance: Provenance
    style: RoiStyle
    activity: dict[str, Any] | None = None


def further_objects(
    source: Source, kinds: Sequence[str], created: datetime
) -> Iterator[tuple[str, bytes]]:
    """Yield "SEG" and "SR" with their DICOM files, as far as kinds names them.

    The report refers to the SEG, so that must be stored too.
    """
    if not {"SEG", "SR"} & set(kinds):
        return
    # highdicom's warnings quote values, and values may be the patient's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series, mask = source.series, source.mask
        seg = build_segmentation(series, mask, source.provenance, source.style, created)
        if "SEG" in kinds:
            yield "SEG", to_bytes(seg)
        if "SR" in kinds:
            liver_ml = float(np.count_nonzero(mask)) * series.volume.grid.voxel_ml
            report = build_report(
                series, seg, liver_ml, source.activity, source.provenance, source.style, created
            )
            yield "SR", to_bytes(report)


def roi_style(settings: dict[str, Any]) -> RoiStyle:
    """The look of the result, from the settings that travel with a job."""
    return RoiStyle(
        name=settings["RoiName"],
        colour=tuple(settings["RoiColour"]),
        series_description=settings["SeriesDescription"],
    )
