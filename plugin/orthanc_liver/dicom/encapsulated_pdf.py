"""The sheet of a result as a DICOM Encapsulated PDF in the CT's study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from orthanc_liver import SOFTWARE
from orthanc_liver.dicom.descriptions import can_be_written, source_name
from orthanc_liver.dicom.result import (
    Provenance,
    code_item,
    copy_patient_and_study,
    digest_of,
    file_meta,
    referenced_image,
    referenced_series,
    series_number,
    uid_from,
    whose,
)
from orthanc_liver.dicom.segmentation import set_dates
from orthanc_liver.dicom.sheet import Sheet, sheet_pdf
from orthanc_liver.dicom.slice_pictures import OutlinedSlices

# An Encapsulated PDF lies nowhere.
_OF_IMAGES = ("FrameOfReferenceUID", "PositionReferenceIndicator")
# Of name, PatientID and title each: a header longer than its page begins pages without end.
_MOST_CHARS = 200


def sheet_of(
    slices: OutlinedSlices,
    liver_ml: float,
    grade: str,
    warnings: Sequence[str],
    planes_png: bytes,
    activity: str,
    provenance: Provenance,
) -> Sheet:
    """What is to be read of a result."""
    header, style = slices.series.header, slices.style
    name = _name(header)[:_MOST_CHARS]
    patient_id = str(header.get("PatientID") or "")[:_MOST_CHARS]
    date = str(header.get("StudyDate") or "")
    of_date = f", study of {date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else ""
    return Sheet(
        of_whom=", ".join(filter(None, [name, patient_id and f"ID {patient_id}"])),
        grade=grade,
        title=f"{style.name} on {source_name(header)}{of_date}"[:_MOST_CHARS],
        lines=(
            f"{style.name}: {liver_ml:.0f} mL",
            "Automatic outline; the review page tells whether a person has accepted it.",
            provenance.origin,
        ),
        warnings=warnings,
        planes_png=planes_png,
        slices=slices,
        activity=activity,
    )


def build_pdf(sheet: Sheet, provenance: Provenance, created: datetime) -> Dataset:
    """Build the object.

    UIDs come from patient, sources, provenance, style, masks and texts, never from created.
    """
    series, style = sheet.slices.series, sheet.slices.style
    parts = ["PDF", *whose(series.header), series.sop_instance_uids, asdict(provenance)]
    parts += [asdict(style), sheet.of_whom, sheet.grade, sheet.title, *sheet.lines]
    parts += [*sheet.warnings, sheet.activity]
    fingerprint = digest_of(json.dumps(parts), [sheet.slices.mask, sheet.slices.look_here])
    dataset = Dataset()
    copy_patient_and_study(dataset, series.header)
    for keyword in _OF_IMAGES:
        if keyword in dataset:
            del dataset[keyword]
    if not can_be_written([style.series_description, sheet.title], series.header):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.SOPInstanceUID = uid_from(fingerprint, "instance")
    dataset.Modality = "DOC"
    dataset.SeriesInstanceUID = uid_from(fingerprint, "series")
    dataset.SeriesNumber = series_number(series.header, dataset.SeriesInstanceUID)
    dataset.SeriesDescription = style.series_description
    dataset.InstanceNumber = 1
    dataset.Manufacturer = dataset.ManufacturerModelName = SOFTWARE
    dataset.SoftwareVersions = provenance.versions
    dataset.ConversionType = "SYN"
    set_dates(dataset, created)
    _add_document(dataset, sheet, created)
    return dataset


def _add_document(dataset: Dataset, sheet: Sheet, created: datetime) -> None:
    series, pdf = sheet.slices.series, sheet_pdf(sheet, created)
    dataset.AcquisitionDateTime = ""
    # Orthanc anonymizes headers, and no pages.
    dataset.BurnedInAnnotation = "YES" if sheet.of_whom else "NO"
    dataset.DocumentTitle = sheet.title
    dataset.ConceptNameCodeSequence = [code_item(codes.DCM.ImagingMeasurementReport)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [referenced_image(uid) for uid in series.sop_instance_uids]
    dataset.ReferencedSeriesSequence = [referenced_series(series.header, series.sop_instance_uids)]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.file_meta = file_meta(dataset, ExplicitVRLittleEndian)


def _name(header: Dataset) -> str:
    """The first group that is there, which is the one in Latin letters where there are several."""
    groups = str(header.get("PatientName") or "").split("=")
    return " ".join(next(filter(None, groups), "").replace("^", " ").split())
