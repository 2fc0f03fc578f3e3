"""The whole story: one series' instances in, DICOM objects, a picture and a report out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from liver_unet.fallback import segment_or_fall_back
from liver_unet.grade import Grade
from liver_unet.liver import Liver, NoLiver
from liver_unet.lungs import NoLungs, measure_lungs
from liver_unet.model import Model
from liver_unet.overlay import overlay_png
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Progress, Stages
from liver_unet.volume import Volume
from orthanc_liver import __version__
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import on_own_slices, trace_contours
from orthanc_liver.dicom.ct_series import CtSeries, doubts_about, read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance, to_bytes
from orthanc_liver.dicom.result_objects import Objects, Source, build, roi_style
from orthanc_liver.dicom.unsure_contours import as_contours, unsure_contours
from orthanc_liver.engine.protocol import NEEDS, JobSettings, Kind, Outcome, with_needs
from orthanc_liver.sirt.activity import volume_warnings


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What one series came to; without a liver there are neither objects nor a picture.

    unsure: where to look, see unsure_contours.
    """

    outcome: Outcome
    series: CtSeries
    liver: Liver | None
    objects: dict[Kind, tuple[bytes, ...]]
    preview_png: bytes | None
    report: dict[str, Any]
    unsure: dict[int, list[list[int]]] = field(default_factory=dict)


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
    stages, spec = Stages(progress), segmenter.fine.spec
    with stages("read"):
        series = read_ct_series(
            instances,
            min_slices=settings.minimum_slices,
            limit=limit,
            projections=settings.projections,
        )
        if limit:
            limit.check_field(series.volume, spec.spacing_mm)
        doubts = doubts_about(series)
        lungs = lungs_told(series.volume)
    computed = segment_or_fall_back(segmenter, series.volume, stages)
    found, used = computed.found, computed.by
    warnings = series.warnings + doubts + computed.warnings
    if isinstance(found, NoLiver):
        summary = report(used, warnings, stages, found) | lungs
        return Segmentation(Outcome.NO_LIVER, series, None, {}, None, summary)
    first_slice = found.box[0].start
    with stages("contour"):
        traced = trace_contours(found.probability, found.grid, first_slice)
        check_contours(traced, found.mask, found.grid, first_slice)
        contours = on_own_slices(traced, series.volume)
    unsure = _where_unsure(found, series)
    with stages("preview"):
        preview = overlay_png(series.volume, found)
    with stages("write"):
        source = Source(
            series=series,
            contours=contours,
            mask=lambda: found.mask_on_ct()[list(series.volume.own_slices)],
            liver_ml=found.volume_ml,
            planes_png=lambda: preview,
            grade=_doubt(found).get("grade", ""),
            provenance=Provenance(__version__, spec.name, spec.sha256),
            style=roi_style(settings, series, found.doubt),
            created=created,
            remarks=series.warnings + doubts + _warnings_of(found),
            look_here=as_contours(unsure, series.volume) if settings.look_here else (),
            look_at=_look_at(found),
        )
        objects, missing = _objects(source, settings.kinds)
    summary = report(used, warnings + missing, stages, found) | lungs
    return Segmentation(Outcome.SEGMENTED, series, found, objects, preview, summary, unsure)


def _where_unsure(found: Liver, series: CtSeries) -> dict[int, list[list[int]]]:
    """By the number of the CT's own slice, from 0."""
    if found.unsure is None:
        return {}
    on_grid = unsure_contours(found.unsure, found.ct_grid)
    own = enumerate(series.volume.own_slices)
    return {number: on_grid[place] for number, place in own if place in on_grid}


def _objects(
    source: Source, kinds: Iterable[Kind]
) -> tuple[dict[Kind, tuple[bytes, ...]], tuple[str, ...]]:
    """Write what can be written; return warnings for the rest."""
    made: dict[Kind, Objects] = {}
    written: dict[Kind, tuple[bytes, ...]] = {}
    missing = []
    for kind in with_needs([Kind.RTSTRUCT, *kinds]):
        if absent := [need for need in NEEDS.get(kind, ()) if need not in written]:
            missing.append(f"The {kind} could not be written without the {', '.join(absent)}.")
            continue
        try:
            made[kind] = build(kind, source, made)
            written[kind] = tuple(to_bytes(one) for one in made[kind])
        except Exception as error:
            if kind is Kind.RTSTRUCT:
                raise
            # No header must cost the patient the RTSTRUCT.
            missing.append(f"The {kind} could not be written ({type(error).__name__}).")
    return written, tuple(missing)


def lungs_told(ct: Volume) -> dict[str, dict[str, Any]]:
    """What the report says of the lungs, measured or not."""
    lungs = measure_lungs(ct)
    if isinstance(lungs, NoLungs):
        return {"lungs": {"reason": lungs.reason}}
    return {"lungs": {"ml": round(lungs.ml, 1), "kg": round(lungs.kg, 4)}}


def _look_at(found: Liver) -> tuple[tuple[int, int], ...]:
    regions = found.doubt.look_at if found.doubt else ()
    return tuple((one.first_slice, one.last_slice) for one in regions)


def _warnings_of(found: Liver) -> tuple[str, ...]:
    return (*found.warnings, *volume_warnings(found.volume_ml))


def report(
    segmenter: Segmenter, warnings: tuple[str, ...], stages: Stages, found: Liver | NoLiver
) -> dict[str, Any]:
    """What is told about a result, in JSON's own types; warnings: those of the series."""
    if isinstance(found, Liver):
        result: dict[str, Any] = {
            "outcome": Outcome.SEGMENTED,
            "liver_ml": round(found.volume_ml, 2),
            **_doubt(found),
        }
        warnings += _warnings_of(found)
    else:
        why = {"reason": found.reason, "seen_ml": round(found.seen_ml, 2)}
        result = {"outcome": Outcome.NO_LIVER, "liver_ml": None, "no_liver": why}
    return {
        **result,
        "software_version": __version__,
        "model": _named(segmenter.fine),
        "coarse_model": _named(segmenter.coarse) if segmenter.coarse else None,
        "device": str(segmenter.device),
        "runtime": segmenter.fine.runtime,
        "precision": str(segmenter.fine.precision).removeprefix("torch."),
        "seconds": {stage: round(seconds, 3) for stage, seconds in stages.seconds.items()},
        "warnings": list(warnings),
        "note": "for review by a physician; not a medical device",
    }


def _doubt(liver: Liver) -> dict[str, Any]:
    """How far the outline can be trusted, where the networks were asked."""
    if liver.doubt is None:
        return {}
    unusual = bool(volume_warnings(liver.volume_ml))
    doubt = liver.doubt.at_least(Grade.LOOK if unusual else Grade.SURE)
    return {
        "grade": doubt.grade.word,
        **{name: round(share, 4) for name, share in doubt.shares.items()},
        "look_at": [
            {"slices": [one.first_slice, one.last_slice], "ml": round(one.ml, 1)}
            for one in doubt.look_at
        ],
    }


def _named(model: Model) -> dict[str, str]:
    return {"name": model.spec.name, "sha256": model.spec.sha256}
