"""The process for a liver whose RTSTRUCT is in Orthanc already: it writes what else there is to be
of it, cuts it into parts, or compares it with what a physician drew.

It lives for one order and needs no network and no GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from liver_unet.liver import Liver
from liver_unet.volume import Volume, box_of
from orthanc_liver.dicom.contours import Contour
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.liver_parts import border_of, parts_of, trace_part
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.result_objects import Objects, Source, build
from orthanc_liver.dicom.roi_choice import RoiChoice
from orthanc_liver.dicom.rtstruct import LiverParts, build_parts_rtstruct
from orthanc_liver.dicom.rtstruct_reader import Roi, mask_of, outline_of, refusing_damaged, roi_of
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.protocol import (
    LOOK_HERE,
    Compared,
    ComparisonOrder,
    DocumentOrder,
    Done,
    Kind,
    OtherOutline,
    Outcome,
    PartsOrder,
    ProtocolError,
    ResultObject,
    read,
    read_instances,
    with_needs,
    write,
)
from orthanc_liver.liver_errors import LiverError

OrderOfStored = DocumentOrder | ComparisonOrder | PartsOrder
Mask = NDArray[np.bool_]

# What a message calls them, whose names and places are Orthanc's business.
_RESULT = Path("the RTSTRUCT of the segmentation")
_OTHER = Path("the returned outline")
_LIVER = RoiChoice(patterns=(f"^(?!{LOOK_HERE}$)",))


def main() -> None:
    """Entry of `python -m orthanc_liver.engine.document_process`."""
    outgoing = begin()
    order = read(sys.stdin.buffer)
    if not isinstance(order, OrderOfStored):
        raise ProtocolError(f"a {type(order).__name__} instead of an order")
    other = _other(order) if isinstance(order, ComparisonOrder) else b""
    instances = read_instances(sys.stdin.buffer, order)
    done = Done(order.job, Outcome.SEGMENTED, "", None)
    try:
        if isinstance(order, ComparisonOrder):
            write(outgoing, _compared(order, other, instances))
        elif isinstance(order, PartsOrder):
            written, parts_ml = _parts(order, instances)
            write(outgoing, written)
            done = replace(done, report={"parts_ml": parts_ml})
        else:
            for written in _documents(order, instances):
                write(outgoing, written)
    except LiverError as refusal:
        done = Done(order.job, Outcome.REFUSED, str(refusal), None)
    for _ in instances:
        pass  # what a refused series left in the pipe
    write(outgoing, done)


def _other(order: ComparisonOrder) -> bytes:
    message = read(sys.stdin.buffer)
    if not isinstance(message, OtherOutline) or message.job != order.job:
        raise ProtocolError(f"a {type(message).__name__} where an outline must be")
    return message.content


def _documents(order: DocumentOrder, instances: Iterator[bytes]) -> Iterator[ResultObject]:
    made: dict[Kind, Objects] = {}
    stored, roi, series, mask = _segmented(order, instances)
    source = Source(
        series=series,
        contours=(),
        mask=lambda: mask[list(series.volume.own_slices)],
        liver_ml=float(np.count_nonzero(mask)) * series.volume.grid.voxel_ml,
        provenance=Provenance(order.software_version, order.model_name, order.model_sha256),
        style=_style(stored, roi),
        created=datetime.now().astimezone(),
        planes_png=lambda: _planes_png(series.volume, mask),
        grade=order.grade,
        activity=order.activity,
        sheet=order.sheet,
        remarks=order.warnings,
        look_here=_look_here(stored, series.volume),
        look_at=tuple((first, last) for first, last in order.look_at),
    )
    for kind in with_needs(order.settings.kinds):
        made[kind] = build(kind, source, made)
        for one in made[kind]:
            yield ResultObject(order.job, kind, to_bytes(one))


def _planes_png(ct: Volume, mask: Mask) -> bytes:
    from liver_unet.overlay import overlay_png  # noqa: PLC0415  it imports torch as well

    box = box_of(mask)
    return overlay_png(ct, Liver(mask[box].astype(np.float32), box, ct.grid))


def _parts(order: PartsOrder, instances: Iterator[bytes]) -> tuple[ResultObject, dict[str, float]]:
    stored, liver, series, mask = _segmented(order, instances)
    volume, is_plane = series.volume, bool(order.cut.plane)
    masks = parts_of(mask, volume, order.cut)
    border = border_of(liver.points_mm, volume.grid)
    how = "a plane through three points" if is_plane else "lassos on slices"
    accepted = "accepted by a person" if stored.ApprovalStatus == "APPROVED" else "not accepted"
    parts = LiverParts(
        rois={name: trace_part(one, volume, border) for name, one in masks.items()},
        of=str(stored.SOPInstanceUID),
        by=order.by,
        label="Lobes" if is_plane else "Perfused",
        remarks=(
            f"parts of the liver of structure set {stored.SOPInstanceUID}, {accepted}, which a "
            f"person cut by {how}",
        ),
    )
    provenance = Provenance(order.software_version, order.model_name, order.model_sha256)
    described = f"Parts of {stored.SeriesDescription}"[:64].strip()
    now = datetime.now().astimezone()
    dataset = build_parts_rtstruct(series, parts, provenance, described, now)
    parts_ml = {
        name: round(float(np.count_nonzero(one)) * volume.grid.voxel_ml, 2)
        for name, one in masks.items()
    }
    return ResultObject(order.job, Kind.RTSTRUCT, to_bytes(dataset)), parts_ml


def _compared(order: ComparisonOrder, other: bytes, instances: Iterator[bytes]) -> Compared:
    # Imports torch for the distances, which writing documents does without.
    from orthanc_liver.evaluation.outlines import contour_in  # noqa: PLC0415
    from orthanc_liver.evaluation.returned import agreement_of  # noqa: PLC0415

    _, _, series, mask = _segmented(order, instances)
    with refusing_damaged(_OTHER):
        drawn = pydicom.dcmread(BytesIO(other))
    contour = contour_in(drawn, _OTHER, RoiChoice(names=(order.roi,)), series)
    return Compared(order.job, agreement_of(mask, contour, series.volume))


def _segmented(
    order: OrderOfStored, instances: Iterator[bytes]
) -> tuple[Dataset, Roi, CtSeries, Mask]:
    """Our RTSTRUCT, the liver in it, the CT, and the mask that its contours were traced from,
    which they are when they are rasterised."""
    written = order.settings.kinds if isinstance(order, DocumentOrder) else ()
    series = read_ct_series(
        instances,
        min_slices=order.settings.minimum_slices,
        limit=MemoryLimit(order.settings.maximum_memory_mib, order.instances, written),
        projections=True,  # what was outlined once may be written down
    )
    stored = pydicom.dcmread(BytesIO(order.rtstruct))
    roi = roi_of(stored, _RESULT, _LIVER)
    mask = mask_of(outline_of(roi, series, _RESULT), series.volume, _RESULT)
    return stored, roi, series, mask


def _style(stored: Dataset, liver: Roi) -> RoiStyle:
    """As the RTSTRUCT has it, doubtful or not, whatever the settings have become since."""
    numbers = {roi.ROIName: roi.ROINumber for roi in stored.StructureSetROISequence}
    colours = {one.ReferencedROINumber: one.ROIDisplayColor for one in stored.ROIContourSequence}
    colour = tuple(int(part) for part in colours[numbers[liver.name]])
    return RoiStyle(liver.name, colour, str(stored.SeriesDescription))


def _look_here(stored: Dataset, ct: Volume) -> list[Contour]:
    if all(roi.ROIName != LOOK_HERE for roi in stored.StructureSetROISequence):
        return []
    own = {place: number for number, place in enumerate(ct.own_slices)}
    drawn = roi_of(stored, _RESULT, RoiChoice((LOOK_HERE,))).points_mm
    places = [round(float(ct.grid.to_index(one)[:, 0].mean())) for one in drawn]
    return [Contour(own[place], one) for place, one in zip(places, drawn, strict=True)]


if __name__ == "__main__":
    main()
