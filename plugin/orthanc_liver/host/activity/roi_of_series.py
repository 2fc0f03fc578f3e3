"""ROIs on a series' slices, whoever outlined them, read through Orthanc's own REST API."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from math import isfinite
from typing import Any

from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.jobs.records import read_cut
from orthanc_liver.host.jobs.source import stored_md5
from orthanc_liver.host.server.api import Missing, Orthanc, Series
from orthanc_liver.host.server.image_series import images_of
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

# Of edges: 14 s at the most, for one of Orthanc's HTTP threads computes. A liver in three parts
# takes 6 million on 300 slices; 40 circles over each other take 100 million on one.
_MOST_COMPARISONS = 20_000_000
# The second is DCMTK's name for it.
_OFFSET = ("ContourOffsetVector", "RETIRED_ContourOffsetVector")
PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class Roi:
    """One ROI of one RTSTRUCT. number: its place in the ROI contour sequence; drawn_at: date and
    time of the structure set, as DICOM writes them; series: those that it says it is drawn on;
    is_the_only: of its ROINumber; points: how many each contour says that it has; is_moved: a
    contour has an offset; generation: ROIGenerationAlgorithm; operator: who drew it, as it says."""

    instance: str
    name: str
    frame: str
    number: int
    kinds: tuple[str, ...]
    label: str
    approval: str
    drawn_at: str
    series: tuple[str, ...]
    is_the_only: bool = True
    points: tuple[int, ...] = ()
    is_moved: bool = False
    generation: str = ""
    operator: str = ""

    @property
    def is_approved(self) -> bool:
        return self.approval == "APPROVED"

    def is_certainly_older_than(self, other: Roi) -> bool:
        """As far as both say when they were drawn: a day without a time is the whole day."""
        said = min(len(self.drawn_at), len(other.drawn_at))
        return self.drawn_at[:said] < other.drawn_at[:said]

    @property
    def words(self) -> str:
        """What a person knows the outline by, and what chooses it."""
        approval = self.approval.lower() or "without approval status"
        when = self.drawn_at[:8] or "an unknown date"
        return (
            f"ROI {self.name!r} of structure set {self.label!r}, {when}, {approval}, "
            f"RTSTRUCT {self.instance}"
        )

    @property
    def choice(self) -> str:
        """The words, with what tells the outlines of two people on one day apart."""
        at = self.drawn_at[8:14] and f" at {self.drawn_at[8:14]}"
        by = self.operator and f" by {self.operator!r}"
        return self.words + (f", drawn{at}{by}" if at or by else "")


def roi_named(orthanc: Orthanc, series: Series, roi_name: str, rtstruct: str | None) -> Roi:
    """The only ROI of that name in the study's RTSTRUCTs, or in the one given.

    rtstruct: Orthanc's id of an instance. Raises ActivityRefused.
    """
    beside = rtstructs_beside(orthanc, series, rtstruct)
    rois = [roi for instance in beside for roi in rois_of(orthanc, instance)]
    found = [roi for roi in rois if roi.name == roi_name]
    if rtstruct is None and found:
        found = _standing(orthanc, found)
    if len(found) > 1:
        choice = "; ".join(roi.choice for roi in found)
        raise ActivityRefused(f"several ROIs have this name: choose one by Rtstruct: {choice}")
    if not found:
        names = ", ".join(sorted({repr(roi.name) for roi in rois})) or "none at all"
        raise ActivityRefused(f"no ROI with an outline has this name; there are: {names}")
    return found[0]


def _standing(orthanc: Orthanc, found: list[Roi]) -> list[Roi]:
    """Without parts of a liver that newer ones, or a newer outline, took the place of."""
    standing = [roi for roi in found if not _is_set_aside(orthanc, roi)]
    if not standing:
        choice = "; ".join(roi.choice for roi in found)
        raise ActivityRefused(
            "newer parts, or a newer outline, took the place of those of this name: cut the newest "
            f"outline, or choose one by Rtstruct: {choice}"
        )
    return standing


def _is_set_aside(orthanc: Orthanc, roi: Roi) -> bool:
    try:
        return bool(read_cut(orthanc, roi.instance).superseded_by)
    except (Missing, NotOurs):
        return False


def rois_on(orthanc: Orthanc, series: Series, frame: str) -> list[Roi]:
    """Whatever is outlined on a series in its study; frame: the UID of its frame of reference."""
    uid = series.tags.get("SeriesInstanceUID")
    return [
        roi
        for instance in rtstructs_beside(orthanc, series, None)
        for roi in rois_of(orthanc, instance)
        if roi.frame == frame and (not roi.series or uid in roi.series)
    ]


def rois_of(orthanc: Orthanc, instance: str) -> tuple[Roi, ...]:
    """Every ROI with a contour of one RTSTRUCT. Kept, so that asking again costs nothing."""
    return _read_rois(orthanc, instance, stored_md5(orthanc, instance))


# Orthanc reads all of a file for its tags, which takes a while where there are many contours.
@lru_cache(maxsize=64)
def _read_rois(orthanc: Orthanc, instance: str, md5: str) -> tuple[Roi, ...]:
    """md5: what else than the name decides what is in it."""
    return tuple(_rois_in(orthanc, instance))


def _rois_in(orthanc: Orthanc, instance: str) -> Iterator[Roi]:
    tags = orthanc.get(f"/instances/{instance}/simplified-tags")
    rois = items_in(tags, "StructureSetROISequence")
    described: dict[str, list[dict[str, Any]]] = {}
    for roi in rois:
        described.setdefault(text_in(roi, "ROINumber"), []).append(roi)
    for number, outlined in enumerate(items_in(tags, "ROIContourSequence")):
        meant = described.get(text_in(outlined, "ReferencedROINumber"), [])
        contours = items_in(outlined, "ContourSequence")
        kinds = tuple(str(one.get("ContourGeometricType")) for one in contours)
        says = (text_in(one, "NumberOfContourPoints") for one in contours)
        points = tuple(int(one) if one.isdecimal() else 0 for one in says)
        offsets = (text_in(one, name) for one in contours for name in _OFFSET)
        is_moved = any(re.search("[1-9]", one) for one in offsets)
        for roi in meant if kinds else ():
            yield Roi(
                instance,
                text_in(roi, "ROIName"),
                text_in(roi, "ReferencedFrameOfReferenceUID") or _only_frame(tags),
                number,
                kinds,
                text_in(tags, "StructureSetLabel"),
                text_in(tags, "ApprovalStatus"),
                _drawn_at(tags),
                tuple(_series_of(tags)),
                is_the_only=len(meant) == 1,
                points=points,
                is_moved=is_moved,
                generation=text_in(roi, "ROIGenerationAlgorithm"),
                operator=text_in(tags, "OperatorsName"),
            )


def outline_of(orthanc: Orthanc, series: Series, roi: Roi) -> Outline:
    """The ROI on the series' slices; ActivityRefused where it does not fit them. Kept, so that
    asking again costs nothing."""
    source = (series.source_key, series.tags.get("SeriesInstanceUID", ""), series.last_update)
    planes, md5 = _planes(orthanc, series), stored_md5(orthanc, roi.instance)
    return _read_outline(orthanc, planes, source, roi, md5)


# Few: a liver on many thin slices takes tens of MiB.
@lru_cache(maxsize=4)
def _read_outline(
    orthanc: Orthanc, planes: Planes, source: tuple[str, str, datetime], roi: Roi, md5: str
) -> Outline:
    """source, md5: what else than the names decides what the outline is."""
    slices = _slices(orthanc, planes, roi)
    if not roi.is_the_only:
        raise ActivityRefused("its RTSTRUCT gives one ROINumber to several ROIs: export it again")
    if any(kind not in PLANAR for kind in roi.kinds):
        raise ActivityRefused("the ROI has contours that enclose nothing: it has no volume")
    if roi.is_moved:
        raise ActivityRefused("the ROI has contours with an offset, which is not supported")
    contours = list(contours_of(orthanc, roi))
    is_exclusive = "CLOSEDPLANAR_XOR" in roi.kinds
    found = outline(contours, slices, exclusive=is_exclusive, most_comparisons=_MOST_COMPARISONS)
    doubts = doubts_about_series(roi.series, source[1])
    cut_off = doubts_about_points(roi.points, contours)
    return replace(found, warnings=(*found.warnings, *cut_off, *doubts))


def rtstructs_beside(orthanc: Orthanc, series: Series, wanted: str | None) -> list[str]:
    """The RTSTRUCTs of the series' study, or the one wanted; ActivityRefused where it is none."""
    beside = orthanc.get(f"/studies/{series.study}/series")
    instances = [
        instance
        for one in beside
        if one["MainDicomTags"].get("Modality") == "RTSTRUCT" and one["ID"] != series.id
        for instance in one["Instances"]
    ] + list(series.structure_sets)
    if wanted is None:
        return instances
    if wanted not in instances:
        raise ActivityRefused("Rtstruct is not the id of an RTSTRUCT in the study of this series")
    return [wanted]


def _only_frame(tags: dict[str, Any]) -> str:
    frames = items_in(tags, "ReferencedFrameOfReferenceSequence")
    uids = {text_in(one, "FrameOfReferenceUID") for one in frames}
    return uids.pop() if len(uids) == 1 else ""


def _drawn_at(tags: dict[str, Any]) -> str:
    """A time without its day tells nothing."""
    day = text_in(tags, "StructureSetDate")
    return day and day + text_in(tags, "StructureSetTime")


def _series_of(tags: dict[str, Any]) -> Iterator[str]:
    for frame in items_in(tags, "ReferencedFrameOfReferenceSequence"):
        for study in items_in(frame, "RTReferencedStudySequence"):
            for series in items_in(study, "RTReferencedSeriesSequence"):
                yield text_in(series, "SeriesInstanceUID")


def items_in(tags: dict[str, Any], keyword: str) -> list[dict[str, Any]]:
    """A sequence's items in Orthanc's simplified tags; none where it is not there."""
    value = tags.get(keyword)
    return value if isinstance(value, list) else []


def text_in(tags: dict[str, Any], keyword: str) -> str:
    """A value in Orthanc's simplified tags; empty where it is not there."""
    return str(tags.get(keyword) or "").strip()


def _planes(orthanc: Orthanc, series: Series) -> Planes:
    try:
        return planes_of(orthanc, series)
    except ValueError as error:
        raise ActivityRefused("the CT's slices do not say where they lie") from error


def _slices(orthanc: Orthanc, planes: Planes, roi: Roi) -> Slices:
    first = orthanc.get(f"/instances/{planes.instances[0]}/simplified-tags")
    check_frame(roi.frame, text_in(first, "FrameOfReferenceUID"))
    return Slices.of(planes.orientation, planes.positions)


@dataclass(frozen=True)
class Planes:
    """Images that lie alike: orientation and positions as DICOM has them, in the index' order."""

    orientation: tuple[float, ...]
    instances: tuple[str, ...]
    positions: tuple[Point, ...]


def planes_of(orthanc: Orthanc, series: Series) -> Planes:
    """A series' images without localizers and structure sets, which the segmentation leaves out.

    ValueError where they do not say where they lie.
    """
    images = series.images or images_of(orthanc, series.id)
    try:
        orientations = [_orientation(one) for one in images]
        orientation = Counter(orientations).most_common(1)[0][0]
        stack = [one for one, own in zip(images, orientations, strict=True) if own == orientation]
        positions = [
            _point(numbers_of(one["MainDicomTags"]["ImagePositionPatient"])) for one in stack
        ]
    except (KeyError, IndexError) as error:
        raise ValueError from error
    return Planes(orientation, tuple(one["ID"] for one in stack), tuple(positions))


def _orientation(image: Mapping[str, Any]) -> tuple[float, ...]:
    """Rounded: one stack's cosines are written alike but for their last digits."""
    numbers = numbers_of(image["MainDicomTags"]["ImageOrientationPatient"])
    along_row, down_column = _point(numbers[:3]), _point(numbers[3:])
    return tuple(round(number, 4) + 0.0 for number in (*along_row, *down_column))


def contours_of(orthanc: Orthanc, roi: Roi) -> Iterator[list[Point]]:
    """The points of each contour, in the order of roi.kinds; ActivityRefused for rubbish."""
    # Orthanc's JSON leaves long values out, so each contour is asked for.
    place = f"/instances/{roi.instance}/content/3006-0039/{roi.number}/3006-0040"
    for number in range(len(roi.kinds)):
        try:
            text = orthanc.get_bytes(f"{place}/{number}/3006-0050").decode("ascii", "replace")
        except Missing:
            text = ""
        try:
            numbers = numbers_of(text) if text.strip(" \0") else []
            yield [_point(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
        except ValueError as error:
            raise ActivityRefused("the ROI has a contour that cannot be read") from error


def numbers_of(text: str) -> list[float]:
    """A value of several decimal numbers; ValueError for anything else."""
    numbers = [float(one) for one in text.strip(" \0").split("\\")]
    if not all(map(isfinite, numbers)):
        raise ValueError
    return numbers


def _point(numbers: list[float]) -> Point:
    x, y, z = numbers
    return x, y, z
