"""Anybody's RTSTRUCT: an ROI of it on its CT's slices, and as a mask on its CT's grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.uid import RTStructureSetStorage

from liver_unet.volume import Volume
from orthanc_liver.dicom.ct_folder import dicom_files
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.part10 import completed
from orthanc_liver.dicom.roi_choice import OutlineRefused, RoiChoice
from orthanc_liver.dicom.uneven_slices import interpolate_mask
from orthanc_liver.liver_errors import LiverError
from orthanc_liver.sirt.inputs import ActivityRefused
from orthanc_liver.sirt.roi_volume import (
    Outline,
    Point,
    Slices,
    check_frame,
    doubts_about_points,
    doubts_about_series,
    outline,
)

# In pixels, from the centres of the outermost.
_BESIDE = 1.5
_PLANAR = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
# What is read here, by SOP class, and what people call it.
RTSTRUCT: dict[str, str] = {RTStructureSetStorage: "RTSTRUCT"}


@dataclass(frozen=True, eq=False)
class Roi:
    """An ROI's contours, each (n, 3) in mm. frame: of reference; exclusive: CLOSEDPLANAR_XOR;
    series_uids: the series that it says it was drawn on; patient_id: whose it says it is; points:
    how many each contour says that it has."""

    name: str
    frame: str
    points_mm: list[NDArray[np.float64]]
    exclusive: bool = False
    series_uids: frozenset[str] = frozenset()
    patient_id: str = ""
    points: tuple[int, ...] = ()


@contextmanager
def refusing_damaged(path: Path) -> Iterator[None]:
    """Whatever reading raises is a sentence that names the file."""
    try:
        # pydicom's warnings quote values, and values may be the patient's.
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except LiverError:
        raise
    # Files can be damaged in more ways than pydicom has errors for.
    except Exception as error:
        raise OutlineRefused(f"{path} is damaged or incomplete ({type(error).__name__})") from error


def read_outlines(path: Path, kinds: Mapping[str, str] = RTSTRUCT) -> tuple[Path, pydicom.Dataset]:
    """Return the object of one of these kinds that a file is, or the only one in a folder, and
    where it lies. Raises LiverError."""
    if path.is_dir():
        path = _only_one_in(path, kinds)
    with refusing_damaged(path):
        dataset = pydicom.dcmread(BytesIO(completed(path.read_bytes())))
        if dataset.get("SOPClassUID") not in kinds:
            raise OutlineRefused(f"{path} is no {_either(kinds)}: name the file with the outline")
        return path, dataset


def _only_one_in(folder: Path, kinds: Mapping[str, str]) -> Path:
    files = [Path(str(o.path)) for o in dicom_files(folder)[0] if o.sop_class_uid in kinds]
    if not files:
        raise OutlineRefused(f"{folder} holds no {_either(kinds)}")
    if len(files) > 1:
        choice = "; ".join(described(read_outlines(one, kinds)[1], one) for one in files)
        raise OutlineRefused(f"{folder} holds several of kind {_either(kinds)}: name one: {choice}")
    return files[0]


def _either(kinds: Mapping[str, str]) -> str:
    return " or ".join(dict.fromkeys(kinds.values()))


def described(dataset: pydicom.Dataset, path: Path) -> str:
    """What a person knows an RTSTRUCT or a SEG by."""
    label = dataset.get("StructureSetLabel") or dataset.get("ContentLabel") or ""
    day = dataset.get("StructureSetDate") or dataset.get("ContentDate") or "an unknown date"
    approval = str(dataset.get("ApprovalStatus") or "without approval status").lower()
    return f"{path} ({str(label)!r}, {day}, {approval})"


def roi_of(structures: pydicom.Dataset, path: Path, choice: RoiChoice) -> Roi:
    """Return the ROI that is meant; path: for messages. Raises OutlineRefused.

    Some contours may have one or two points, or none, and enclose nothing.
    """
    with refusing_damaged(path):
        if "StructureSetROISequence" not in structures or "ROIContourSequence" not in structures:
            raise OutlineRefused(f"{path} is no RTSTRUCT with contours")
        described = {int(roi.ROINumber): roi for roi in structures.StructureSetROISequence}
        if len(described) < len(structures.StructureSetROISequence):
            raise OutlineRefused(f"{path} gives one ROINumber to several ROIs: export it again")
        names = {number: _text(roi, "ROIName") for number, roi in described.items()}
        drawn: dict[int, list[pydicom.Dataset]] = {}
        for one in structures.ROIContourSequence:
            if contours := one.get("ContourSequence"):
                drawn.setdefault(int(one.ReferencedROINumber), []).extend(contours)
        number = choice.among(names, drawn, path)
        frame = _text(described[number], "ReferencedFrameOfReferenceUID") or _only_frame(structures)
        return replace(
            _roi(names[number], frame, drawn[number], path),
            series_uids=referenced_series(structures),
            patient_id=_text(structures, "PatientID"),
        )


def _roi(name: str, frame: str, contours: list[pydicom.Dataset], path: Path) -> Roi:
    kinds = {str(contour.get("ContourGeometricType", "")) for contour in contours}
    if others := sorted(kinds - _PLANAR):
        raise OutlineRefused(f"{path} has a contour of {name!r} that is no polygon ({others[0]})")
    values = [contour.get("ContourData") for contour in contours]
    numbers = [np.array([] if one is None else one, dtype=np.float64) for one in values]
    if any(one.size % 3 or not np.isfinite(one).all() for one in numbers):
        raise OutlineRefused(f"{path} has a contour of {name!r} that cannot be read")
    if any(np.any(np.array(one.get("ContourOffsetVector") or 0, dtype=float)) for one in contours):
        raise OutlineRefused(
            f"{path} has contours of {name!r} with an offset, which is not supported"
        )
    points = [one.reshape(-1, 3) for one in numbers]
    says = tuple(int(one.get("NumberOfContourPoints") or 0) for one in contours)
    return Roi(name, frame, points, "CLOSEDPLANAR_XOR" in kinds, points=says)


def _only_frame(structures: pydicom.Dataset) -> str:
    frames = structures.get("ReferencedFrameOfReferenceSequence") or []
    uids = {_text(one, "FrameOfReferenceUID") for one in frames}
    return uids.pop() if len(uids) == 1 else ""


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def outline_of(roi: Roi, ct: CtSeries, path: Path) -> Outline:
    """The ROI on the CT's slices; raises OutlineRefused where it does not fit them."""
    check_frame_of(roi.frame, ct, path)
    contours = [_points(one) for one in roi.points_mm]
    beside = _doubts_about_place(roi.points_mm, ct.volume)
    cut_off = doubts_about_points(roi.points, contours) if roi.points else ()
    try:
        found = outline(contours, _slices_of(ct.volume), exclusive=roi.exclusive)
    except ActivityRefused as refusal:
        raise OutlineRefused(f"{path}: {refusal}") from refusal
    doubts = doubts_about_origin(roi.series_uids, roi.patient_id, ct)
    return replace(found, warnings=(*found.warnings, *beside, *cut_off, *doubts))


def _doubts_about_place(contours_mm: Sequence[NDArray[np.float64]], ct: Volume) -> tuple[str, ...]:
    """Contours that leave the images at a side, where a mask would end without a word."""
    last = np.array(ct.grid.shape[1:]) - 1
    index = [ct.grid.to_index(one)[:, 1:] for one in contours_mm if len(one)]
    beyond = sum(bool(((one < -_BESIDE) | (one > last + _BESIDE)).any()) for one in index)
    told = f"{beyond} of {len(index)} contours leave the CT's images at a side"
    return (told,) if beyond else ()


def doubts_about_origin(
    series_uids: frozenset[str], patient_id: str, ct: CtSeries
) -> tuple[str, ...]:
    """What is to be said where an outline says that it is of another series or patient."""
    doubts = doubts_about_series(series_uids, _text(ct.header, "SeriesInstanceUID"))
    ct_patient = _text(ct.header, "PatientID")
    if patient_id and ct_patient and patient_id != ct_patient:
        doubts += (
            "the outline bears another PatientID than this CT: make sure that both are of one "
            "patient",
        )
    return doubts


def referenced_series(structures: pydicom.Dataset) -> frozenset[str]:
    """The CT series that a structure set says it was drawn on."""
    return frozenset(
        _text(series, "SeriesInstanceUID")
        for frame in structures.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    )


def check_frame_of(frame: str, ct: CtSeries, path: Path) -> None:
    """Refuse another frame of reference; a CT from NIfTI names none, there the place decides."""
    try:
        if ct.sop_instance_uids:
            check_frame(frame, _text(ct.header, "FrameOfReferenceUID"))
    except ActivityRefused as refusal:
        raise OutlineRefused(f"{path}: {refusal}") from refusal


def _points(points_mm: NDArray[np.float64]) -> list[Point]:
    return [(x, y, z) for x, y, z in points_mm.tolist()]


def _slices_of(ct: Volume) -> Slices:
    grid = ct.grid
    row, column = (grid.affine[:3, axis] / grid.spacing_mm[axis] for axis in (2, 1))
    places_mm = grid.to_mm(np.array([[n, 0.0, 0.0] for n in ct.own_slices]))
    return Slices.of([*row.tolist(), *column.tolist()], _points(places_mm))


def mask_of(found: Outline, ct: Volume, path: Path) -> NDArray[np.bool_]:
    """Rasterise an outline: the pixels whose centres it holds. ct: that of outline_of."""
    slices, grid = found.slices, ct.grid
    plane = np.array([slices.along_row, slices.down_column])
    normal = np.cross(*plane)
    mask = np.zeros(grid.shape, dtype=bool)
    for number, regions in found.by_slice.items():
        above = normal * slices.offsets_mm[number]
        slice_index = round(float(grid.to_index(above)[0]))
        for region in regions:
            edges = [grid.to_index(np.array(one) @ plane + above)[..., 1:] for one in region if one]
            inside = [pixels_inside(one, grid.shape[1:]) for one in edges]
            mask[slice_index] ^= np.logical_or.reduce(inside)
    if not mask.any():
        raise OutlineRefused(f"{path} outlines no pixel of its CT")
    return interpolate_mask(mask, ct)


def pixels_inside(edges: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixel centres lie inside a polygon, even-odd; edges: (n, 2 ends, 2)."""
    rows, columns = shape
    turns = np.zeros((rows, columns + 1), dtype=bool)
    for start, end in edges.tolist():
        (row0, column0), (row1, column1) = sorted([tuple(start), tuple(end)])
        lines = np.arange(max(0, int(np.ceil(row0))), min(rows, int(np.ceil(row1))))
        if len(lines):
            column = column0 + (column1 - column0) * (lines - row0) / (row1 - row0)
            turns[lines, np.clip(np.ceil(column), 0, columns).astype(int)] ^= True
    return np.asarray(np.logical_xor.accumulate(turns[:, :columns], axis=1))
