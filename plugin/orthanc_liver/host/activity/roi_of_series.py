"""The volume of an ROI that somebody else outlined, read through Orthanc's own REST API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.sirt.inputs import ActivityRefused, Input, read_input
from orthanc_liver.sirt.roi_volume import Point, Slices, volume_ml

_PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class _Roi:
    """One ROI of one RTSTRUCT; number: its place in the ROI contour sequence."""

    instance: str
    name: str
    frame: str
    number: int
    kinds: tuple[str, ...]


def roi_input(
    orthanc: Orthanc, series: Series, quantity: str, roi_name: str, rtstruct: str | None
) -> Input:
    """The volume of the only ROI of that name in the study's RTSTRUCTs, or in the one given.

    rtstruct: Orthanc's id of an instance. Raises ActivityRefused.
    """
    rois = [roi for one in _rtstructs(orthanc, series, rtstruct) for roi in _rois(orthanc, one)]
    found = [roi for roi in rois if roi.name == roi_name]
    if len(found) != 1:
        names = ", ".join(sorted({repr(roi.name) for roi in rois})) or "none at all"
        where = ", ".join(roi.instance for roi in found)
        raise ActivityRefused(
            f"several ROIs have this name (in the instances {where}): choose one by Rtstruct"
            if found
            else f"no ROI with an outline has this name; there are: {names}"
        )
    roi = found[0]
    slices = _slices(orthanc, series, roi)
    if any(kind not in _PLANAR for kind in roi.kinds):
        raise ActivityRefused("the ROI has contours that enclose nothing: it has no volume")
    volume = volume_ml(list(_contours(orthanc, roi)), slices)
    origin = f"area of the ROI's contours x slice distance, RTSTRUCT {roi.instance}"
    return read_input(quantity, volume, origin)


def _rtstructs(orthanc: Orthanc, series: Series, wanted: str | None) -> list[str]:
    beside = orthanc.get(f"/studies/{series.study}/series")
    instances = [
        instance
        for one in beside
        if one["MainDicomTags"].get("Modality") == "RTSTRUCT"
        for instance in one["Instances"]
    ]
    if wanted is None:
        return instances
    if wanted not in instances:
        raise ActivityRefused("Rtstruct is not the id of an RTSTRUCT in the study of this series")
    return [wanted]


def _rois(orthanc: Orthanc, instance: str) -> Iterator[_Roi]:
    tags = orthanc.get(f"/instances/{instance}/simplified-tags")
    described = {roi.get("ROINumber"): roi for roi in _items(tags, "StructureSetROISequence")}
    for number, outlined in enumerate(_items(tags, "ROIContourSequence")):
        roi = described.get(outlined.get("ReferencedROINumber"))
        kinds = tuple(
            str(one.get("ContourGeometricType")) for one in _items(outlined, "ContourSequence")
        )
        if roi and kinds:
            name = str(roi.get("ROIName", "")).strip()
            frame = str(roi.get("ReferencedFrameOfReferenceUID", ""))
            yield _Roi(instance, name, frame, number, kinds)


def _items(tags: dict[str, Any], keyword: str) -> list[dict[str, Any]]:
    value = tags.get(keyword)
    return value if isinstance(value, list) else []


def _slices(orthanc: Orthanc, series: Series, roi: _Roi) -> Slices:
    first = orthanc.get(f"/instances/{series.instances[0]}/simplified-tags")
    if roi.frame != first.get("FrameOfReferenceUID"):
        raise ActivityRefused("the ROI lies in another frame of reference than this CT")
    try:
        orientation = _numbers(first["ImageOrientationPatient"])
        places = [
            one["MainDicomTags"]["ImagePositionPatient"]
            for one in orthanc.get(f"/series/{series.id}/instances")
        ]
        return Slices.of(orientation, [_point(_numbers(place)) for place in places])
    except (KeyError, ValueError) as error:
        raise ActivityRefused("the CT's slices do not say where they lie") from error


def _contours(orthanc: Orthanc, roi: _Roi) -> Iterator[list[Point]]:
    # Orthanc's JSON leaves long values out, so each contour is asked for.
    place = f"/instances/{roi.instance}/content/3006-0039/{roi.number}/3006-0040"
    for number in range(len(roi.kinds)):
        text = orthanc.get_bytes(f"{place}/{number}/3006-0050").decode("ascii", "replace")
        try:
            numbers = _numbers(text)
            yield [_point(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
        except ValueError as error:
            raise ActivityRefused("the ROI has a contour that cannot be read") from error


def _numbers(text: str) -> list[float]:
    return [float(one) for one in text.strip(" \0").split("\\")]


def _point(numbers: list[float]) -> Point:
    x, y, z = numbers
    return x, y, z
