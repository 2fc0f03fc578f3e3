"""From contours to the RT Structure Set that goes back beside the CT."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import datetime
from functools import cached_property

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from orthanc_liver import NOTE, SOFTWARE
from orthanc_liver.dicom.contours import Contour
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.descriptions import (
    can_be_written,
    structure_set_description,
    structure_set_label,
)
from orthanc_liver.dicom.result import (
    LOOK_HERE_COLOUR,
    ORGAN,
    PART_COLOURS,
    Provenance,
    RoiStyle,
    code_item,
    copy_patient_and_study,
    date_and_time,
    file_meta,
    reference,
    referenced_image,
    series_number,
    short_text,
    uid_from,
    whose,
)
from orthanc_liver.engine.protocol import LEFT_LOBE, LOOK_HERE, RIGHT_LOBE

# Detached Study Management: long retired, and still what a reference to a study is written with.
_STUDY_SOP_CLASS = UID("1.2.840.10008.3.1.2.3.1")
# Explicit VR keeps 16 bits for the length of a DS value.
_LONGEST_EXPLICIT_DS = 65534
# What would part a person's name into several, or into its components.
_ONE_NAME = str.maketrans("\\^=", "///")


@dataclass(frozen=True, eq=False)
class _Roi:
    """One ROI; contours: on the CT's own slices; organ: None where it is none."""

    number: int
    name: str
    colour: tuple[int, ...]
    contours: Sequence[Contour]
    organ: Code | None = ORGAN
    generation: str = "AUTOMATIC"

    @cached_property
    def contour_data(self) -> list[str]:
        return [_contour_data(contour) for contour in self.contours]

    @property
    def parts(self) -> list[object]:
        """What of it makes one result differ from another."""
        return [[contour.slice_index for contour in self.contours], self.contour_data]


@dataclass(frozen=True, eq=False)
class LiverParts:
    """What a person cut a liver into. rois: contours by name; of: the UID of the structure set that
    was cut; by: who cut it; label: what the whole is called; remarks: how it was cut."""

    rois: Mapping[str, Sequence[Contour]]
    of: str
    by: str
    label: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Texts:
    """Of a structure set."""

    label: str
    description: str
    operator: str = ""


def build_rtstruct(
    series: CtSeries,
    contours: Sequence[Contour],
    provenance: Provenance,
    style: RoiStyle,
    created: datetime,
    remarks: Sequence[str] = (),
    look_here: Sequence[Contour] = (),
) -> Dataset:
    """Build the RTSTRUCT: the liver's ROI, every contour tied to the instance it lies on.

    look_here: where the networks are unsure; an ROI of its own where there is any. UIDs come from
    patient, sources, provenance, style, remarks and contours, never from created: the same input
    gives the same object. ContourData is the text to be written, not numbers.
    Raises SeriesRefused where the CT lacks UIDs to refer to.
    """
    rois = [_Roi(1, style.name, style.colour, contours)]
    if look_here:
        rois.append(_Roi(2, LOOK_HERE, LOOK_HERE_COLOUR, look_here, organ=None))
    label = structure_set_label(style.name, series.header)
    texts = _Texts(label, structure_set_description(remarks, provenance.origin))
    return _built(series, rois, provenance, style, created, texts)


def build_parts_rtstruct(
    series: CtSeries,
    parts: LiverParts,
    provenance: Provenance,
    series_description: str,
    created: datetime,
) -> Dataset:
    """Build the RTSTRUCT of a liver's parts, an ROI each; UIDs and errors as of build_rtstruct."""
    rois = [
        _Roi(
            number,
            name,
            PART_COLOURS[(number - 1) % len(PART_COLOURS)],
            contours,
            organ=ORGAN if name in (RIGHT_LOBE, LEFT_LOBE) else None,
            generation="SEMIAUTOMATIC",
        )
        for number, (name, contours) in enumerate(parts.rois.items(), start=1)
    ]
    style = RoiStyle(parts.label, PART_COLOURS[0], series_description)
    description = structure_set_description(parts.remarks, provenance.origin)
    label = structure_set_label(parts.label, series.header)
    texts = _Texts(label, description, parts.by.translate(_ONE_NAME))
    dataset = _built(series, rois, provenance, style, created, texts)
    dataset.PredecessorStructureSetSequence = [reference(RTStructureSetStorage, parts.of)]
    return dataset


def _built(
    series: CtSeries,
    rois: Sequence[_Roi],
    provenance: Provenance,
    style: RoiStyle,
    created: datetime,
    texts: _Texts,
) -> Dataset:
    told = [style.name, style.series_description, *filter(None, astuple(texts))]
    fingerprint = _fingerprint(series, rois, provenance, style, told)
    dataset = Dataset()
    copy_patient_and_study(dataset, series.header)
    if not can_be_written([*told, provenance.model_name], series.header):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    _add_series(dataset, series, style, created, uid_from(fingerprint, "series"))
    _add_equipment(dataset, provenance, created)
    _add_structure_set(dataset, created, uid_from(fingerprint, "instance"))
    dataset.OperatorsName = texts.operator
    dataset.StructureSetLabel, dataset.StructureSetName = texts.label, style.series_description
    dataset.StructureSetDescription = texts.description
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(series)]
    dataset.StructureSetROISequence = [_roi(series, provenance, roi) for roi in rois]
    dataset.ROIContourSequence = [_roi_contour(series, roi) for roi in rois]
    dataset.RTROIObservationsSequence = [_observation(roi) for roi in rois]
    longest = max((len(text) for roi in rois for text in roi.contour_data), default=0)
    # A contour that is too long for explicit VR would lose its VR if written so.
    fits_explicit = longest <= _LONGEST_EXPLICIT_DS
    syntax = ExplicitVRLittleEndian if fits_explicit else ImplicitVRLittleEndian
    dataset.file_meta = file_meta(dataset, syntax)
    return dataset


def _contour_data(contour: Contour) -> str:
    """Return x\\y\\z\\x\\... in the shortest digits that tell the coordinates."""
    return "\\".join(map(repr, contour.points_mm.ravel().tolist()))


def _fingerprint(
    series: CtSeries,
    rois: Sequence[_Roi],
    provenance: Provenance,
    style: RoiStyle,
    texts: Sequence[str],
) -> str:
    """Return a hash of all that makes one result differ from another; dates do not."""
    sources = [*whose(series.header), series.sop_instance_uids]
    outlined = [part for roi in rois for part in roi.parts]
    parts = [*sources, asdict(provenance), asdict(style), texts, *outlined]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _add_series(
    dataset: Dataset, series: CtSeries, style: RoiStyle, created: datetime, uid: UID
) -> None:
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = uid
    dataset.SeriesNumber = series_number(series.header, uid)
    dataset.SeriesDescription = style.series_description
    dataset.SeriesDate, dataset.SeriesTime = date_and_time(created)


def _add_equipment(dataset: Dataset, provenance: Provenance, created: datetime) -> None:
    dataset.Manufacturer = SOFTWARE
    dataset.ManufacturerModelName = SOFTWARE
    dataset.SoftwareVersions = provenance.versions
    # Said twice, because whoever edits the contours later puts itself in the equipment's place.
    ours = Dataset()
    ours.PurposeOfReferenceCodeSequence = [code_item(codes.DCM.ProcessingEquipment)]
    ours.Manufacturer = SOFTWARE
    ours.ManufacturerModelName = SOFTWARE
    ours.SoftwareVersions = provenance.versions
    ours.ContributionDateTime = created.strftime("%Y%m%d%H%M%S")
    ours.ContributionDescription = f"Outlined the liver. {NOTE}"
    dataset.ContributingEquipmentSequence = [ours]


def _add_structure_set(dataset: Dataset, created: datetime, uid: UID) -> None:
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = uid
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date_and_time(created)
    dataset.InstanceNumber = 1
    dataset.StructureSetDate, dataset.StructureSetTime = date_and_time(created)
    dataset.ApprovalStatus = "UNAPPROVED"


def _referenced_frame(series: CtSeries) -> Dataset:
    ct_series = Dataset()
    ct_series.SeriesInstanceUID = series.header.SeriesInstanceUID
    ct_series.ContourImageSequence = [referenced_image(uid) for uid in series.sop_instance_uids]
    study = reference(_STUDY_SOP_CLASS, series.header.StudyInstanceUID)
    study.RTReferencedSeriesSequence = [ct_series]
    frame = Dataset()
    frame.FrameOfReferenceUID = series.header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(series: CtSeries, provenance: Provenance, drawn: _Roi) -> Dataset:
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [code_item(codes.DCM.ArtificialIntelligence)]
    algorithm.AlgorithmName = short_text(provenance.model_name)
    algorithm.AlgorithmVersion = provenance.model_sha256
    algorithm.AlgorithmSource = SOFTWARE
    roi = Dataset()
    roi.ROINumber = drawn.number
    roi.ReferencedFrameOfReferenceUID = series.header.FrameOfReferenceUID
    roi.ROIName = drawn.name
    roi.ROIDescription = NOTE
    roi.ROIGenerationAlgorithm = drawn.generation
    roi.ROIGenerationDescription = short_text(
        f"{SOFTWARE} {provenance.software_version}, model {provenance.model_sha256[:12]}"
    )
    roi.ROIDerivationAlgorithmIdentificationSequence = [algorithm]
    return roi


def _roi_contour(series: CtSeries, drawn: _Roi) -> Dataset:
    roi_contour = Dataset()
    roi_contour.ROIDisplayColor = list(drawn.colour)
    roi_contour.ReferencedROINumber = drawn.number
    roi_contour.ContourSequence = [
        _contour_item(number, contour, text, series.sop_instance_uids[contour.slice_index])
        for number, (contour, text) in enumerate(
            zip(drawn.contours, drawn.contour_data, strict=True), start=1
        )
    ]
    return roi_contour


def _contour_item(number: int, contour: Contour, text: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ContourNumber = number
    item.ContourImageSequence = [referenced_image(sop_instance_uid)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(contour.points_mm)
    # A pydicom number per coordinate would take seconds for a liver; text is written as it is.
    item.add(DataElement("ContourData", "DS", text, already_converted=True))
    return item


def _observation(drawn: _Roi) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = drawn.number
    observation.RTROIInterpretedType = "ORGAN" if drawn.organ else ""
    if drawn.organ:
        observation.RTROIIdentificationCodeSequence = [code_item(drawn.organ)]
    observation.ROIInterpreter = ""
    return observation
