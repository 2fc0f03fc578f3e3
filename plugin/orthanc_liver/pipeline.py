"""The whole story: one series' instances in, DICOM objects, a picture and a report out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset

from liver_unet.fallback import FELL_BACK, segment_or_fall_back
from liver_unet.overlay import overlay_png
from liver_unet.segmenter import Liver, Segmenter, Stopwatch
from orthanc_liver import __version__
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance, to_bytes
from orthanc_liver.dicom.result_objects import Source, build, roi_style
from orthanc_liver.engine.protocol import NEEDS, JobSettings, Kind, Outcome, with_needs

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What one series came to; without a liver there are neither objects nor a picture."""

    outcome: Outcome
    series: CtSeries
    liver: Liver | None
    objects: dict[Kind, bytes]
    preview_png: bytes | None
    report: dict[str, Any]


def segment_series(
    instances: Iterable[bytes],
    segmenter: Segmenter,
    settings: JobSettings,
    *,
    created: datetime,
    progress: Progress,
    limit: MemoryLimit | None = None,
) -> Segmentation:
    """Outline the liver on the series whose DICOM files are given in any order.

    The RTSTRUCT is always written; what else settings.kinds names is missing, with a warning in
    the report, where it cannot be.
    Raises SeriesRefused for input that cannot be trusted, or is beyond the limit, and
    ContoursDisagree where our own contours, rasterised again, are not the mask: then nothing may
    be stored.
    """
    clock = Stopwatch()
    with clock.stage("read"):
        progress("read", 0.0)
        series = read_ct_series(instances, min_slices=settings.minimum_slices, limit=limit)
    if limit:
        limit.check_field(series.volume.grid, segmenter.spec.spacing_mm)
    liver, used = segment_or_fall_back(segmenter, series.volume, progress, clock)
    warnings = series.warnings + (() if used is segmenter else (FELL_BACK,))
    if liver is None:
        summary = report(used, warnings, clock)
        return Segmentation(Outcome.NO_LIVER, series, None, {}, None, summary)
    first_slice = liver.box[0].start
    with clock.stage("contour"):
        progress("contour", 0.0)
        contours = trace_contours(liver.probability, liver.grid, first_slice)
        check_contours(contours, liver.mask, liver.grid, first_slice)
    with clock.stage("write"):
        progress("write", 0.0)
        source = Source(
            series=series,
            contours=contours,
            mask=liver.mask_on_ct,
            liver_ml=liver.volume_ml,
            provenance=Provenance(__version__, segmenter.spec.name, segmenter.spec.sha256),
            style=roi_style(settings),
            created=created,
        )
        objects, missing = _objects(source, settings.kinds)
    with clock.stage("preview"):
        progress("preview", 0.0)
        preview = overlay_png(series.volume, liver)
    summary = report(used, warnings + liver.warnings + missing, clock, liver)
    return Segmentation(Outcome.SEGMENTED, series, liver, objects, preview, summary)


def _objects(source: Source, kinds: Iterable[Kind]) -> tuple[dict[Kind, bytes], tuple[str, ...]]:
    """Write what can be written; return warnings for the rest."""
    made: dict[Kind, Dataset] = {}
    written: dict[Kind, bytes] = {}
    missing = []
    for kind in with_needs([Kind.RTSTRUCT, *kinds]):
        if absent := [need for need in NEEDS.get(kind, ()) if need not in written]:
            missing.append(f"The {kind} could not be written without the {', '.join(absent)}.")
            continue
        try:
            made[kind] = build(kind, source, made)
            written[kind] = to_bytes(made[kind])
        except Exception as error:
            if kind is Kind.RTSTRUCT:
                raise
            # No header must cost the patient the RTSTRUCT.
            missing.append(f"The {kind} could not be written ({type(error).__name__}).")
    return written, tuple(missing)


def report(
    segmenter: Segmenter, warnings: tuple[str, ...], clock: Stopwatch, liver: Liver | None = None
) -> dict[str, Any]:
    """What is told about a result, in JSON's own types."""
    return {
        "outcome": Outcome.NO_LIVER if liver is None else Outcome.SEGMENTED,
        "liver_ml": None if liver is None else round(liver.volume_ml, 2),
        "software_version": __version__,
        "model": {"name": segmenter.spec.name, "sha256": segmenter.spec.sha256},
        "device": str(segmenter.device),
        "precision": str(segmenter.precision).removeprefix("torch."),
        "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        "warnings": list(warnings),
        "note": "for review by a physician; not a medical device",
    }
