"""From a mask to the DICOM SEG beside its CT; by highdicom."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from orthanc_liver import NOTE
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.result import (
    ORGAN,
    SOFTWARE,
    Provenance,
    RoiStyle,
    date_and_time,
    series_number,
    uid_from,
    whose,
)
from orthanc_liver.dicom.source_images import restore_identity, source_images

SEGMENT_NUMBER = 1


def build_segmentation(
    series: CtSeries,
    mask: NDArray[np.bool_],
    provenance: Provenance,
    style: RoiStyle,
    created: datetime,
) -> Dataset:
    """Build a binary SEG of one segment; mask: (slice, row, column), the CT's own slices.

    UIDs come from patient, sources, provenance, style and mask, never from created.
    """
    fingerprint = _fingerprint(series, mask, provenance, style)
    series_uid = uid_from(fingerprint, "series")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=provenance.model_name[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=provenance.software_version,
        parameters={"sha256": provenance.model_sha256},
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=SEGMENT_NUMBER,
        segment_label=style.name,
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=ORGAN,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=uid_from(fingerprint, "tracking"),
        tracking_id=style.name,
        display_color=highdicom.color.CIELabColor.from_rgb(*style.colour),
    )
    dataset: Dataset = highdicom.seg.Segmentation(
        source_images=source_images(series),
        pixel_array=mask.astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=series_uid,
        series_number=series_number(series.header, series_uid),
        sop_instance_uid=uid_from(fingerprint, "instance"),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=provenance.software_version,
        device_serial_number=provenance.model_sha256[:16],
        content_description=NOTE,
        content_label="LIVER",
        series_description=style.series_description,
    )
    # Set here: highdicom would warn that a program has one name only.
    dataset.ContentCreatorName = SOFTWARE
    restore_identity(dataset, series.header)
    set_dates(dataset, created)
    return dataset


def set_dates(dataset: Dataset, created: datetime) -> None:
    """Put the job's time where highdicom wrote the time of its own call."""
    for what in ("InstanceCreation", "Content", "Series"):
        date, time = date_and_time(created)
        setattr(dataset, f"{what}Date", date)
        setattr(dataset, f"{what}Time", time)


def _fingerprint(
    series: CtSeries, mask: NDArray[np.bool_], provenance: Provenance, style: RoiStyle
) -> str:
    sources = [*whose(series.header), series.sop_instance_uids]
    parts = ["SEG", *sources, asdict(provenance), asdict(style), mask.shape]
    digest = hashlib.sha256(json.dumps(parts).encode())
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()
