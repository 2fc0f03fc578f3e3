"""From a mask to the DICOM SEG beside its CT; by highdicom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from orthanc_liver import NOTE, SOFTWARE
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.result import (
    LOOK_HERE_COLOUR,
    ORGAN,
    Provenance,
    RoiStyle,
    date_and_time,
    digest_of,
    series_number,
    uid_from,
    whose,
)
from orthanc_liver.dicom.source_images import restore_identity, source_images
from orthanc_liver.engine.protocol import LOOK_HERE

# The liver's.
SEGMENT_NUMBER = 1
# What the second segment is: a place in the image, and no anatomy.
_REGION = codes.SCT.SpatialAndRelationalConcept, codes.DCM.ImageRegion


def build_segmentation(
    series: CtSeries,
    mask: NDArray[np.bool_],
    provenance: Provenance,
    style: RoiStyle,
    created: datetime,
    look_here: NDArray[np.bool_] | None = None,
) -> Dataset:
    """Build a binary SEG of the liver; mask: (slice, row, column), the CT's own slices.

    look_here: where the networks are unsure, as mask; a second segment. UIDs come from patient,
    sources, provenance, style and masks, never from created.
    """
    masks = [mask] if look_here is None else [mask, look_here]
    fingerprint = _fingerprint(series, masks, provenance, style)
    series_uid = uid_from(fingerprint, "series")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=provenance.model_name[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=provenance.software_version,
        parameters={"sha256": provenance.model_sha256},
    )
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=uid_from(fingerprint, "tracking" if number == SEGMENT_NUMBER else name),
            tracking_id=name,
            display_color=highdicom.color.CIELabColor.from_rgb(*colour),
        )
        for number, name, category, kind, colour in (
            (SEGMENT_NUMBER, style.name, codes.SCT.Organ, ORGAN, style.colour),
            (2, LOOK_HERE, *_REGION, LOOK_HERE_COLOUR),
        )
    ]
    dataset: Dataset = highdicom.seg.Segmentation(
        source_images=source_images(series),
        pixel_array=np.stack(masks, axis=-1).view(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described[: len(masks)],
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
    series: CtSeries, masks: Sequence[NDArray[np.bool_]], provenance: Provenance, style: RoiStyle
) -> str:
    sources = [*whose(series.header), series.sop_instance_uids]
    parts = ["SEG", *sources, asdict(provenance), asdict(style), masks[0].shape]
    return digest_of(json.dumps(parts), masks)
