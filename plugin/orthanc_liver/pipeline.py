"""The whole story: one series' instances in, DICOM objects, a picture and a report out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from liver_unet.fallback import FELL_BACK, segment_or_fall_back
from liver_unet.model_errors import VolumeRefused
from liver_unet.overlay import overlay_png
from liver_unet.plausible_hu import check_hu
from liver_unet.segmenter import Liver, Segmenter, Stopwatch
from orthanc_liver import __version__
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from orthanc_liver.liver_errors import SeriesRefused

Progress = Callable[[str, float], None]

NO_LIVER = "no liver found"
SEGMENTED = "segmented"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one series came to; without a liver there is neither RTSTRUCT nor picture."""

    outcome: str
    series: CtSeries
    liver: Liver | None
    rtstruct: bytes | None
    preview_png: bytes | None
    report: dict[str, Any]


def segment_series(
    instances: Iterable[bytes],
    segmenter: Segmenter,
    *,
    style: RoiStyle,
    created: datetime,
    min_slices: int,
    progress: Progress,
    limit: MemoryLimit | None = None,
) -> Outcome:
    """Outline the liver on the series whose DICOM files are given in any order.

    Raises SeriesRefused for input that cannot be trusted, or is beyond the limit, and
    ContoursDisagree where our own contours, rasterised again, are not the mask: then nothing may
    be stored.
    """
    clock = Stopwatch()
    with clock.stage("read"):
        progress("read", 0.0)
        series = read_ct_series(instances, min_slices=min_slices, limit=limit)
        doubts = doubts_about(series)
    if limit:
        limit.check_field(series.volume.grid, segmenter.spec.spacing_mm)
    liver, used = segment_or_fall_back(segmenter, series.volume, progress, clock)
    warnings = series.warnings + doubts + (() if used is segmenter else (FELL_BACK,))
    if liver is None:
        summary = report(used, warnings, clock)
        return Outcome(NO_LIVER, series, None, None, None, summary)
    first_slice = liver.box[0].start
    with clock.stage("contour"):
        progress("contour", 0.0)
        contours = trace_contours(liver.probability, liver.grid, first_slice)
        check_contours(contours, liver.mask, liver.grid, first_slice)
    with clock.stage("write"):
        progress("write", 0.0)
        provenance = Provenance(__version__, segmenter.spec.name, segmenter.spec.sha256)
        rtstruct = to_bytes(build_rtstruct(series, contours, provenance, style, created))
    with clock.stage("preview"):
        preview = overlay_png(series.volume, liver)
    summary = report(used, warnings + liver.warnings, clock, liver)
    return Outcome(SEGMENTED, series, liver, rtstruct, preview, summary)


def doubts_about(series: CtSeries) -> tuple[str, ...]:
    """Return what is odd in the pixels; raises SeriesRefused where they are no CT in HU."""
    try:
        return tuple(check_hu(series.volume, [f"instance {u}" for u in series.sop_instance_uids]))
    except VolumeRefused as refusal:
        raise SeriesRefused(str(refusal)) from refusal


def report(
    segmenter: Segmenter, warnings: tuple[str, ...], clock: Stopwatch, liver: Liver | None = None
) -> dict[str, Any]:
    """What is told about a result, in JSON's own types."""
    return {
        "outcome": NO_LIVER if liver is None else SEGMENTED,
        "liver_ml": None if liver is None else round(liver.volume_ml, 2),
        "software_version": __version__,
        "model": {"name": segmenter.spec.name, "sha256": segmenter.spec.sha256},
        "device": str(segmenter.device),
        "precision": str(segmenter.precision).removeprefix("torch."),
        "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        "warnings": list(warnings),
        "note": "for review by a physician; not a medical device",
    }
