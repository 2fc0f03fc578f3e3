"""What all results have in common: provenance, style, UIDs, the patient and the study."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage

from orthanc_liver import NOTE, SOFTWARE
from orthanc_liver.engine.protocol import JobSettings
from orthanc_liver.liver_errors import SeriesRefused

IMPLEMENTATION_UID = UID("2.25.141434931519494872490792050208018830546")
# What is outlined, in SNOMED CT.
ORGAN = codes.SCT.Liver
# Of what shows where the networks are unsure.
LOOK_HERE_COLOUR = (255, 176, 0)
# Of parts of a liver: told apart by people who see red and green alike, too (Okabe and Ito).
PART_COLOURS = ((0, 158, 115), (86, 180, 233), (230, 159, 0), (204, 121, 167), (240, 228, 66))

# An RTSTRUCT lives in the CT's study and must repeat these as the CT has them, besides all
# patient and clinical trial attributes (groups 0010 and 0012).
_STUDY_KEYWORDS = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "RequestingService",
    "RequestingServiceCodeSequence",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)
# Whose and of which study: one CT may be in an archive under a wrong name and a corrected one.
_WHOSE = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "AccessionNumber",
)
# Of the IS that DICOM allows, up to 2147483647, the last five digits are ours.
_RESULTS_PER_SERIES, _MOST_SERIES = 100_000, 20_000
_NOT_OF_THE_STUDY = ("ClinicalTrialSeriesID", "ClinicalTrialSeriesDescription")
# Type 2: present, and empty where nobody knows.
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True)
class Provenance:
    """What made the contours."""

    software_version: str
    model_name: str
    model_sha256: str

    @property
    def versions(self) -> list[str]:
        """As SoftwareVersions."""
        return [self.software_version, self.model_sha256, short_text(self.model_name)]

    @property
    def origin(self) -> str:
        """All of it as sentences."""
        return (
            f"Outlined by {SOFTWARE} {self.software_version} with the model "
            f"{self.model_name[:256]} (sha256 {self.model_sha256}). {NOTE}"
        )


@dataclass(frozen=True)
class RoiStyle:
    """The output settings: how the result presents itself. colour: red, green, blue, 0..255.

    Raises ValueError where DICOM cannot hold them.
    """

    name: str = JobSettings.roi_name
    colour: tuple[int, ...] = JobSettings.roi_colour
    series_description: str = "Liver auto"

    def __post_init__(self) -> None:
        for what, text in (
            ("ROI name", self.name),
            ("series description", self.series_description),
        ):
            if not 1 <= len(text.strip()) <= len(text) <= 64 or not _is_one_line(text):
                raise ValueError(
                    f"The {what} must be 1 to 64 characters on one line without a backslash."
                )
        if len(self.colour) != 3 or not all(0 <= part <= 255 for part in self.colour):
            raise ValueError("The ROI colour must be three numbers from 0 to 255.")


def uid_from(fingerprint: str, role: str) -> UID:
    """The same UID for the same content; role: what of the object it names."""
    digest = hashlib.sha256(f"{role} {fingerprint}".encode()).digest()
    # Version 5 marks a UUID as made from a name, as this one is.
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")


def short_text(text: str) -> str:
    """Cut a name to DICOM's 64 characters; a description holds all of it."""
    return text.replace("\\", "/")[:64]


def digest_of(text: str, masks: Iterable[NDArray[np.bool_] | None]) -> str:
    """A fingerprint of what a result says and shows."""
    digest = hashlib.sha256(text.encode())
    for mask in masks:
        digest.update(b"" if mask is None else np.packbits(mask).tobytes())
    return digest.hexdigest()


def file_meta(dataset: Dataset, transfer_syntax: UID) -> FileMetaDataset:
    """The head of an object's file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "ORTHANC_LIVER"
    return meta


def code_item(code: Code) -> Dataset:
    """A code as an item of a sequence."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def reference(sop_class_uid: UID, sop_instance_uid: str) -> Dataset:
    """An object as an item of a sequence."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def referenced_image(sop_instance_uid: str) -> Dataset:
    """A slice of the CT as an item of a sequence."""
    return reference(CTImageStorage, sop_instance_uid)


def referenced_series(header: Dataset, sop_instance_uids: Iterable[str]) -> Dataset:
    """Slices of the CT with their series, as an item of a sequence."""
    item = Dataset()
    item.SeriesInstanceUID = header.SeriesInstanceUID
    item.ReferencedInstanceSequence = [referenced_image(uid) for uid in sop_instance_uids]
    return item


def whose(header: Dataset) -> list[str]:
    """What of the patient and the study belongs to what UIDs are made of."""
    return [str(header.get(keyword, "")) for keyword in _WHOSE]


def series_number(header: Dataset, uid: UID) -> int:
    """The CT's own number and five digits of the result's series UID: no two results of a study
    are likely to share it. Positive, and in DICOM's range."""
    number = header.get("SeriesNumber")
    of_ct = abs(number) % _MOST_SERIES if isinstance(number, int) else 0
    return of_ct * _RESULTS_PER_SERIES + int(uid[-5:]) % (_RESULTS_PER_SERIES - 1) + 1


def copy_patient_and_study(dataset: Dataset, header: Dataset) -> None:
    """Copy element by element: a value that breaks DICOM's rules passes as the CT has it."""
    study = {tag_for_keyword(keyword) for keyword in _STUDY_KEYWORDS}
    series = {tag_for_keyword(keyword) for keyword in _NOT_OF_THE_STUDY}
    for element in header:
        belongs = element.tag in study or element.tag.group in (0x0010, 0x0012)
        if (belongs and element.tag not in series) or element.keyword == "SpecificCharacterSet":
            dataset.add(deepcopy(element))
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not header.get(keyword):
            raise SeriesRefused(
                f"The CT has no {keyword}, so no structure set can refer to it; "
                "export the series again from its source."
            )


def date_and_time(created: datetime) -> tuple[str, str]:
    """DICOM's DA and TM."""
    return created.strftime("%Y%m%d"), created.strftime("%H%M%S")


def to_bytes(dataset: Dataset) -> bytes:
    """Return the DICOM file, preamble and all."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _is_one_line(text: str) -> bool:
    return text.isprintable() and "\\" not in text
