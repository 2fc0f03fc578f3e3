"""The process that writes SEG and SR of a liver whose RTSTRUCT is in Orthanc already.

It lives for one request, needs no network and no GPU, and speaks frames (frames.py):
  in:  {"type": "objects", "kinds": [...], "instances": N, "settings": {...}, "provenance": {...},
        "activity": {...} or null} + the RTSTRUCT,
       then {"type": "instance"} + one DICOM file, N times
  out: {"type": "object", "name": "SEG" or "SR"} + bytes, then {"type": "done", "reason": "..."},
       where a reason says why nothing came
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pydicom

from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance
from orthanc_liver.dicom.result_objects import Source, further_objects, roi_style
from orthanc_liver.dicom.rtstruct_reader import mask_of, roi_polygons
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.protocol import read_frame, write_frame
from orthanc_liver.liver_errors import LiverError

# What a message calls the RTSTRUCT, whose name and place are Orthanc's business.
_RESULT = Path("the RTSTRUCT of the segmentation")


def main() -> None:
    """Entry of `python -m orthanc_liver.engine.document_process`."""
    outgoing = begin()
    message, rtstruct = read_frame(sys.stdin.buffer)
    instances = _instances(sys.stdin.buffer, message["instances"])
    reason = ""
    try:
        source = _source(message, rtstruct, instances)
        for name, content in further_objects(source, message["kinds"], datetime.now().astimezone()):
            write_frame(outgoing, {"type": "object", "name": name}, content)
    except LiverError as refusal:
        reason = str(refusal)
    for _ in instances:
        pass  # what a refused series left in the pipe
    write_frame(outgoing, {"type": "done", "reason": reason})


def _source(message: dict[str, Any], rtstruct: bytes, instances: Iterator[bytes]) -> Source:
    settings = message["settings"]
    limit = MemoryLimit(settings["MaximumMemoryMib"], message["instances"])
    series = read_ct_series(instances, min_slices=settings["MinimumSlices"], limit=limit)
    # Our contours, rasterised, are the mask that they were traced from.
    polygons = roi_polygons(pydicom.dcmread(BytesIO(rtstruct)), _RESULT, "")
    return Source(
        series,
        mask_of(polygons, series.volume.grid, _RESULT),
        Provenance(**message["provenance"]),
        roi_style(settings),
        message["activity"],
    )


def _instances(incoming: BinaryIO, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield read_frame(incoming)[1]


if __name__ == "__main__":
    main()
