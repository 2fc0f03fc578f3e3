"""A CT's slices as they are to be shown, and anybody's outlines of it in pixels of them.

Nothing is decoded: the pictures are Orthanc's own, the contours as DICOM has them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from orthanc_liver.host.activity.roi_of_series import (
    PLANAR,
    Roi,
    contours_of,
    numbers_of,
    planes_of,
    rois_of,
    rois_on,
    rtstructs_beside,
)
from orthanc_liver.host.errors import NotShown
from orthanc_liver.host.jobs.source import stored_md5
from orthanc_liver.host.server.api import Orthanc, Series
from orthanc_liver.sirt.roi_volume import Point, cross, dot

# Of a pixel. Contours are told in whole numbers, which are shorter.
_PARTS = 100
_SAME_PLACE_MM = 0.02


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, as reports count them; corners: of each, the centre of
    the first pixel; spacing_mm: between columns, between rows."""

    frame: str
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    along_row: Point
    down_column: Point
    instances: tuple[str, ...]
    corners: tuple[Point, ...]

    @cached_property
    def normal(self) -> Point:
        return cross(self.along_row, self.down_column)

    @cached_property
    def offsets_mm(self) -> list[float]:
        return [dot(corner, self.normal) for corner in self.corners]

    def as_json(self) -> dict[str, Any]:
        """What the page draws by."""
        return {
            "Rows": self.rows,
            "Columns": self.columns,
            "SpacingMm": self.spacing_mm,
            "AlongRow": self.along_row,
            "DownColumn": self.down_column,
            "Normal": self.normal,
            "Slices": [
                {"Instance": instance, "OffsetMm": round(offset_mm, 3), "CornerMm": corner}
                for instance, offset_mm, corner in zip(
                    self.instances, self.offsets_mm, self.corners, strict=True
                )
            ],
        }

    def nearest(self, contour: Sequence[Point]) -> int | None:
        """The slice that a contour lies on; None where it is more than half a step away."""
        offsets = self.offsets_mm
        own = sum(dot(point, self.normal) for point in contour) / len(contour)
        above = bisect_left(offsets, own)
        found = min(
            range(max(above - 1, 0), min(above + 1, len(offsets))),
            key=lambda n: abs(offsets[n] - own),
        )
        step_mm = (offsets[-1] - offsets[0]) / max(len(offsets) - 1, 1)
        return found if abs(offsets[found] - own) <= max(step_mm, 1.0) / 2 else None

    def pixels(self, contour: Sequence[Point], number: int) -> list[int]:
        """column, row, column, row ... on a slice, in parts of a pixel; whole ones are centres."""
        found = []
        corner, (across_mm, down_mm) = self.corners[number], self.spacing_mm
        for point in contour:
            away = (point[0] - corner[0], point[1] - corner[1], point[2] - corner[2])
            found.append(round(_PARTS * dot(away, self.along_row) / across_mm))
            found.append(round(_PARTS * dot(away, self.down_column) / down_mm))
        return found


def outlines_of(orthanc: Orthanc, series: Series) -> list[dict[str, Any]]:
    """Every outline of the series in its study, newest first."""
    rois = rois_on(orthanc, series, stack_of(orthanc, series).frame)
    rois.sort(key=lambda roi: roi.drawn_at, reverse=True)
    return [_described(roi) for roi in rois]


def stack_of(orthanc: Orthanc, series: Series) -> Stack:
    """The series' slices; NotShown where they do not say where they lie."""
    try:
        planes = planes_of(orthanc, series)
        first = orthanc.get(f"/instances/{planes.instances[0]}/simplified-tags")
        between_rows, between_columns = numbers_of(str(first.get("PixelSpacing")))
        rows, columns = int(first.get("Rows") or 0), int(first.get("Columns") or 0)
        if min(rows, columns, between_rows, between_columns) <= 0:
            raise ValueError
    except ValueError as error:
        raise NotShown("the slices of this series do not say where they lie") from error
    row, column = planes.orientation[:3], planes.orientation[3:]
    stack = Stack(
        frame=str(first.get("FrameOfReferenceUID")),
        rows=rows,
        columns=columns,
        spacing_mm=(between_columns, between_rows),
        along_row=(row[0], row[1], row[2]),
        down_column=(column[0], column[1], column[2]),
        instances=planes.instances,
        corners=planes.positions,
    )
    return _in_order(stack)


def outline_text(orthanc: Orthanc, series: Series, rtstruct: str, roi: str) -> str:
    """One outline by slice as JSON. roi: its number, as outlines_of tells it.

    ActivityRefused where the study has no such RTSTRUCT or a contour cannot be read, NotShown
    where it has no such ROI. Kept, so that asking again costs nothing.
    """
    [instance] = rtstructs_beside(orthanc, series, rtstruct)
    for one in rois_of(orthanc, instance):
        if str(one.number) == roi:
            return _read(orthanc, stack_of(orthanc, series), one, stored_md5(orthanc, instance))
    raise NotShown("the RTSTRUCT has no such ROI")


# A liver on many thin slices takes some MB.
@lru_cache(maxsize=4)
def _read(orthanc: Orthanc, stack: Stack, roi: Roi, md5: str) -> str:
    """md5: what else than the names decides what the outline is."""
    by_slice: dict[int, list[list[int]]] = {}
    not_shown = 0
    for kind, contour in zip(roi.kinds, contours_of(orthanc, roi), strict=True):
        number = stack.nearest(contour) if contour and kind in PLANAR else None
        if number is None:
            not_shown += 1
        else:
            by_slice.setdefault(number, []).append(stack.pixels(contour, number))
    found = {"PartsOfPixel": _PARTS, "NotShown": not_shown, "Slices": by_slice}
    return json.dumps(found, separators=(",", ":"))


def _in_order(stack: Stack) -> Stack:
    """Ascending along the normal; of what lies in one place the first is shown."""
    kept: list[tuple[float, str, Point]] = []
    for one in sorted(zip(stack.offsets_mm, stack.instances, stack.corners, strict=True)):
        if not kept or one[0] - kept[-1][0] >= _SAME_PLACE_MM:
            kept.append(one)
    _, instances, corners = zip(*kept, strict=True)
    return replace(stack, instances=instances, corners=corners)


def _described(roi: Roi) -> dict[str, Any]:
    return {
        "Rtstruct": roi.instance,
        "Roi": roi.number,
        "Name": roi.name,
        "Label": roi.label,
        "Date": roi.drawn_at,
        "Approval": roi.approval,
    }
