"""The volume inside an ROI's contours: standard library only, as Orthanc's Python has no more.

Points are (x, y, z) in mm (LPS). Areas are the polygons' own, not counts of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orthanc_liver.sirt.inputs import ActivityRefused

Point = tuple[float, float, float]
Flat = tuple[float, float]

# Other systems round contours to 0.01 mm or so, and thin slices are 0.5 mm apart.
_OFF_PLANE_MM = 0.2
_UNEVEN_MM = 0.1


@dataclass(frozen=True)
class Slices:
    """The planes of a CT: along_row and down_column as its orientation has them, and where each
    plane lies along their normal, ascending."""

    along_row: Point
    down_column: Point
    offsets_mm: tuple[float, ...]

    @classmethod
    def of(cls, orientation: Sequence[float], positions: Sequence[Point]) -> Slices:
        """From ImageOrientationPatient and each ImagePositionPatient; raises ActivityRefused."""
        row, column = _point(orientation[:3]), _point(orientation[3:])
        normal = _cross(row, column)
        offsets = tuple(sorted(_dot(position, normal) for position in positions))
        steps = [above - below for below, above in pairwise(offsets)]
        if not steps or min(steps) <= 0 or max(steps) - min(steps) > _UNEVEN_MM:
            raise ActivityRefused("the CT's slices are not evenly spaced: no ROI has a volume")
        return cls(row, column, offsets)

    @property
    def step_mm(self) -> float:
        return (self.offsets_mm[-1] - self.offsets_mm[0]) / (len(self.offsets_mm) - 1)

    def nearest(self, contour: Sequence[Point]) -> int:
        """Which slice a contour lies on; raises ActivityRefused where on none."""
        normal = _cross(self.along_row, self.down_column)
        along = [_dot(point, normal) for point in contour]
        middle = sum(along) / len(along)
        index = round((middle - self.offsets_mm[0]) / self.step_mm)
        if 0 <= index < len(self.offsets_mm):
            off_mm = max(abs(one - self.offsets_mm[index]) for one in along)
            if off_mm <= _OFF_PLANE_MM:
                return index
        raise ActivityRefused("the ROI does not lie on the slices of this CT")

    def flat(self, contour: Sequence[Point]) -> list[Flat]:
        """The contour within its plane."""
        return [(_dot(p, self.along_row), _dot(p, self.down_column)) for p in contour]


def volume_ml(contours: Sequence[Sequence[Point]], slices: Slices) -> float:
    """Area times slice distance; on one slice a contour within another is a hole of it."""
    by_slice: dict[int, list[list[Flat]]] = {}
    for contour in contours:
        by_slice.setdefault(slices.nearest(contour), []).append(slices.flat(contour))
    area_mm2 = sum(_area_mm2(polygons) for polygons in by_slice.values())
    return area_mm2 * slices.step_mm / 1000


def _area_mm2(polygons: Sequence[list[Flat]]) -> float:
    total = 0.0
    for number, polygon in enumerate(polygons):
        others = (other for index, other in enumerate(polygons) if index != number)
        depth = sum(_holds(other, polygon[0]) for other in others)
        total += _polygon_mm2(polygon) * (-1 if depth % 2 else 1)
    return total


def _polygon_mm2(polygon: list[Flat]) -> float:
    ends = [*polygon[1:], polygon[0]]
    twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, ends, strict=True))
    return abs(twice) / 2


def _holds(polygon: list[Flat], point: Flat) -> bool:
    """Even-odd: whether a ray from the point to the right meets the polygon an odd time."""
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (x1 - x0) * (y - y0) / (y1 - y0):
            inside = not inside
    return inside


def _point(numbers: Sequence[float]) -> Point:
    x, y, z = numbers
    return x, y, z


def _dot(one: Point, other: Point) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _cross(one: Point, other: Point) -> Point:
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
