"""The slices that hold liver as secondary captures, for whoever shows neither RTSTRUCT nor SEG.

One object for each slice, in RGB and uncompressed: what every viewer can show. By highdicom.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from orthanc_liver import SOFTWARE
from orthanc_liver.dicom.captions import FOR_REVIEW, grade_line
from orthanc_liver.dicom.descriptions import source_name
from orthanc_liver.dicom.result import (
    Provenance,
    code_item,
    date_and_time,
    digest_of,
    referenced_image,
    referenced_series,
    series_number,
    uid_from,
    whose,
)
from orthanc_liver.dicom.segmentation import set_dates
from orthanc_liver.dicom.slice_pictures import (
    ALARMING,
    WHITE,
    Line,
    OutlinedSlices,
    Picture,
    with_text_below,
)
from orthanc_liver.dicom.source_images import restore_identity, source_images
from orthanc_liver.engine.protocol import DOUBTFUL, LOOK_HERE, SURE

# A liver on slices of 5 mm has some 45; of thinner ones every second, third ... is shown.
MOST_SLICES = 50


def build_captures(
    slices: OutlinedSlices, liver_ml: float, grade: str, provenance: Provenance, created: datetime
) -> list[Dataset]:
    """Build the series, in the order of the slices.

    UIDs come from patient, sources, provenance, style, masks and texts, never from created.
    """
    series, style = slices.series, slices.style
    shown = slices.with_liver(MOST_SLICES)
    lines = {number: _lines(slices, number, shown, liver_ml, grade) for number in shown}
    parts: list[Any] = ["SC", *whose(series.header), series.sop_instance_uids, asdict(provenance)]
    parts += [asdict(style), list(lines.values())]
    fingerprint = digest_of(json.dumps(parts), [slices.mask, slices.look_here])
    images = source_images(series)
    pictures = with_text_below([(slices.picture_with_sides(n), lines[n]) for n in shown])
    captures = []
    for place, (number, picture) in enumerate(zip(shown, pictures, strict=True), start=1):
        capture = _capture(slices, images[number], picture, fingerprint, place)
        capture.DerivationDescription = f"{style.name} outlined on the slice. {provenance.origin}"
        restore_identity(capture, series.header)
        set_dates(capture, created)
        capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = date_and_time(created)
        capture.SoftwareVersions = provenance.versions
        captures.append(capture)
    return captures


def _lines(
    slices: OutlinedSlices, number: int, shown: range, liver_ml: float, grade: str
) -> list[Line]:
    series, style = slices.series, slices.style
    where = f"Slice {number + 1} of {len(series.sop_instance_uids)}"
    if shown.step > 1:
        where += f"; one of every {shown.step} is shown"
    if slices.look_here is not None and slices.look_here[number].any():
        where += f'; amber: "{LOOK_HERE}"'
    at = " and ".join(f"{first}-{last}" for first, last in slices.look_at)
    look_first = f" Look first at slices {at}." if at and grade != SURE else ""
    return [
        (f"{style.name}: {liver_ml:.0f} mL on {source_name(series.header)}", style.colour),
        (grade_line(grade) + look_first, ALARMING if grade == DOUBTFUL else WHITE),
        (f"{where}.", WHITE),
        (f"{FOR_REVIEW} Not a medical device.", WHITE),
    ]


def _capture(
    slices: OutlinedSlices, image: Dataset, picture: Picture, fingerprint: str, place: int
) -> Dataset:
    series_uid = uid_from(fingerprint, "series")
    capture: Dataset = SCImage.from_ref_dataset(
        image,
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series_uid,
        series_number=series_number(slices.series.header, series_uid),
        sop_instance_uid=uid_from(fingerprint, f"instance {place}"),
        instance_number=place,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        series_description=slices.style.series_description,
        pixel_spacing=tuple(np.multiply(image.PixelSpacing, slices.every)),
        patient_orientation=slices.sides,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.Laterality = ""  # of a body that is no pair
    # Who and when cannot be read from the pixels.
    capture.BurnedInAnnotation = "NO"
    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
        capture.add(deepcopy(image[keyword]))
    source = referenced_image(str(image.SOPInstanceUID))
    source.PurposeOfReferenceCodeSequence = [
        code_item(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    capture.SourceImageSequence = [source]
    capture.ReferencedSeriesSequence = [
        referenced_series(slices.series.header, [str(image.SOPInstanceUID)])
    ]
    return capture
