"""The process that writes SEG and SR of a liver whose RTSTRUCT is in Orthanc already.

It lives for one DocumentOrder and needs no network and no GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from liver_unet.volume import Volume
from orthanc_liver.dicom.contours import Contour
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.result_objects import Source, build
from orthanc_liver.dicom.roi_choice import RoiChoice
from orthanc_liver.dicom.rtstruct_reader import Roi, mask_of, outline_of, roi_of
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.protocol import (
    LOOK_HERE,
    DocumentOrder,
    Done,
    Kind,
    Outcome,
    ProtocolError,
    ResultObject,
    read,
    read_instances,
    with_needs,
    write,
)
from orthanc_liver.liver_errors import LiverError

# What a message calls the RTSTRUCT, whose name and place are Orthanc's business.
_RESULT = Path("the RTSTRUCT of the segmentation")
_LIVER = RoiChoice(patterns=(f"^(?!{LOOK_HERE}$)",))


def main() -> None:
    """Entry of `python -m orthanc_liver.engine.document_process`."""
    outgoing = begin()
    order = read(sys.stdin.buffer)
    if not isinstance(order, DocumentOrder):
        raise ProtocolError(f"a {type(order).__name__} instead of an order")
    instances = read_instances(sys.stdin.buffer, order)
    done = Done(order.job, Outcome.SEGMENTED, "", None)
    made: dict[Kind, Dataset] = {}
    try:
        source = _source(order, instances)
        for kind in with_needs(order.settings.kinds):
            made[kind] = build(kind, source, made)
            write(outgoing, ResultObject(order.job, kind, to_bytes(made[kind])))
    except LiverError as refusal:
        done = Done(order.job, Outcome.REFUSED, str(refusal), None)
    for _ in instances:
        pass  # what a refused series left in the pipe
    write(outgoing, done)


def _source(order: DocumentOrder, instances: Iterator[bytes]) -> Source:
    settings = order.settings
    limit = MemoryLimit(settings.maximum_memory_mib, order.instances)
    series = read_ct_series(
        instances,
        min_slices=settings.minimum_slices,
        limit=limit,
        projections=True,  # what was outlined once may be written down
    )
    # Our contours, rasterised, are the mask that they were traced from.
    stored = pydicom.dcmread(BytesIO(order.rtstruct))
    roi = roi_of(stored, _RESULT, _LIVER)
    mask = mask_of(outline_of(roi, series, _RESULT), series.volume, _RESULT)
    return Source(
        series=series,
        contours=(),
        mask=lambda: mask[list(series.volume.own_slices)],
        liver_ml=float(np.count_nonzero(mask)) * series.volume.grid.voxel_ml,
        provenance=Provenance(order.software_version, order.model_name, order.model_sha256),
        style=_style(stored, roi),
        created=datetime.now().astimezone(),
        activity=order.activity,
        look_here=_look_here(stored, series.volume),
    )


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
