"""The numbers as a DICOM structured report (TID 1500) that refers to the SEG; by highdicom."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from orthanc_liver import NOTE, SOFTWARE
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.result import (
    IMPLEMENTATION_UID,
    ORGAN,
    Provenance,
    RoiStyle,
    series_number,
    uid_from,
    whose,
)
from orthanc_liver.dicom.segmentation import SEGMENT_NUMBER, set_dates
from orthanc_liver.dicom.source_images import restore_identity, source_images

_OURS = "99ORTHLIVER"
_MILLILITRE = Code("mL", "UCUM", "mL")
_VOLUME = Code("118565006", "SCT", "Volume")
# Where a vocabulary has a name for what is measured; everything else is named by our own codes.
_NAMES = {
    "HeightM": Code("50373000", "SCT", "Body height"),
    "WeightKg": Code("27113001", "SCT", "Body weight"),
    "BsaM2": Code("301898006", "SCT", "Body Surface Area"),
}
_UNITS = {"": Code("1", "UCUM", "no units"), "Gy kg/GBq": Code("Gy.kg/GBq", "UCUM", "Gy kg/GBq")}


def build_report(
    series: CtSeries,
    segmentation: Dataset,
    liver_ml: float,
    activity: dict[str, Any] | None,
    provenance: Provenance,
    style: RoiStyle,
    created: datetime,
) -> Dataset:
    """Build the report: the segment's volume, and optionally an activity as its as_json tells it.

    UIDs come from patient, sources, provenance, style, SEG and numbers, never from created.
    """
    parts: list[Any] = ["SR", *whose(series.header), series.sop_instance_uids]
    parts += [asdict(provenance), asdict(style)]
    parts += [str(segmentation.SOPInstanceUID), liver_ml, activity]
    fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    series_uid = uid_from(fingerprint, "series")
    groups = [_liver(series, segmentation, liver_ml, provenance, style)]
    if activity is not None:
        groups.append(_activity(activity, fingerprint))
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=IMPLEMENTATION_UID,
        name=SOFTWARE,
        manufacturer_name=SOFTWARE,
        model_name=SOFTWARE,
        serial_number=provenance.software_version,
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=Code("77477000", "SCT", "Computed tomography"),
        imaging_measurements=groups,
    )
    images = source_images(series)
    dataset: Dataset = sr.ComprehensiveSR(
        evidence=[segmentation, *images],
        content=report,
        series_instance_uid=series_uid,
        series_number=series_number(series.header, series_uid),
        sop_instance_uid=uid_from(fingerprint, "instance"),
        instance_number=1,
        manufacturer=SOFTWARE,
        series_description=style.series_description,
        software_versions=provenance.software_version,
        manufacturer_model_name=SOFTWARE,
    )
    restore_identity(dataset, series.header)
    set_dates(dataset, created)
    return dataset


def _liver(
    series: CtSeries,
    segmentation: Dataset,
    liver_ml: float,
    provenance: Provenance,
    style: RoiStyle,
) -> Any:
    tracking_uid = segmentation.SegmentSequence[0].TrackingUID
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking_uid, style.name),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=SEGMENT_NUMBER,
            source_series=sr.SourceSeriesForSegmentation(series.header.SeriesInstanceUID),
        ),
        finding_type=codes.SCT.Organ,
        finding_sites=[sr.FindingSite(ORGAN)],
        algorithm_id=sr.AlgorithmIdentification(
            name=provenance.model_name,
            version=provenance.software_version,
            parameters=[f"sha256 {provenance.model_sha256}"],
        ),
        measurements=[sr.Measurement(_VOLUME, _ds(liver_ml), _MILLILITRE)],
    )
    _add_comments(group, [NOTE])
    return group


def _activity(activity: dict[str, Any], fingerprint: str) -> Any:
    """Inputs first, then the steps; how each came about is a comment."""
    numbers, nuclide = [*activity["Inputs"], *activity["Results"]], activity["Nuclide"]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid_from(fingerprint, "activity"), f"{nuclide} activity"
        ),
        finding_type=Code(
            f"{nuclide.replace('-', '')}Activity", _OURS, f"{nuclide} activity, planned"
        ),
        measurements=[_measurement(one) for one in numbers if one["Value"] is not None],
    )
    comments = [f"Method: {activity['Title']}"]
    if activity["ActivityGbq"] is None:
        comments.append("No activity: do not treat")
    comments += [f"{name}: {word}" for name, word in activity["Chosen"].items()]
    comments += [f"Warning: {warning}" for warning in activity["Warnings"]]
    comments += [f"Limit: {one['Sentence']}" for one in activity["Limits"]]
    comments += [f"{one['Meaning']}: {one['Origin']}" for one in activity["Inputs"]]
    comments += [f"{one['Meaning']}: {one['Formula']}" for one in activity["Results"]]
    comments += [f"Source: {source}" for source in activity["Sources"]]
    _add_comments(group, [*comments, NOTE])
    return group


def _measurement(number: dict[str, Any]) -> sr.Measurement:
    name = _NAMES.get(number["Name"]) or Code(number["Name"], _OURS, number["Meaning"][:64])
    unit = _UNITS.get(number["Unit"]) or Code(number["Unit"], "UCUM", number["Unit"])
    return sr.Measurement(name, _ds(number["Value"]), unit)


def _add_comments(group: Any, comments: list[str]) -> None:
    for comment in comments:
        group[0].ContentSequence.append(
            sr.TextContentItem(codes.DCM.Comment, comment, sr.RelationshipTypeValues.CONTAINS)
        )


def _ds(value: float) -> float:
    """As many digits as DICOM's 16 characters hold in any case."""
    return float(f"{value:.10g}")
