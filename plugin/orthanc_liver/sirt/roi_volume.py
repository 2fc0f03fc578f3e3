"""The volume inside an ROI's contours: standard library only, as Orthanc's Python has no more.

Points are (x, y, z) in mm (LPS). Areas are the polygons' own, not counts of pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import inf, isclose

from orthanc_liver.sirt.inputs import ActivityRefused
from orthanc_liver.sirt.planar import (
    Flat,
    Polygon,
    Region,
    comparisons,
    covered,
    crosses_itself,
    enclosed,
    polygon,
    regions,
    shared,
)
from orthanc_liver.sirt.slice_places import line_through, places_of, tolerance_mm

Point = tuple[float, float, float]

# Other systems round contours to 0.01 mm or so, and thin slices are 0.5 mm apart.
_OFF_PLANE_MM = 0.2
# As the reader of the CT has it (dicom/ct_series.py), whose code cannot be imported into Orthanc.
_SAME_POSITION_MM = 0.02
# What lies in what.
_WHOLES = {
    "TumourMl": "LiverMl",
    "LobeMl": "LiverMl",
    "LobeTumourMl": "LobeMl",
    "PerfusedMl": "LiverMl",
    "PerfusedTumourMl": "PerfusedMl",
}
_MOST_OUTSIDE, _ROUNDING = 0.1, 1e-3
# Of an ROI's contours this many may lie beyond the CT's ends, and one of few.
_MOST_BEYOND = 0.1
# Contours follow the probability, a report counts voxels: for a liver they differ far less.
_AGREE = 0.02
# A part of an outline on fewer slices than this may be what is left of one with slices missing.
_SLICES_OF_A_PART = 3


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
        normal = cross(row, column)
        offsets = [dot(position, normal) for position in positions]
        return cls(row, column, tuple(_on_their_planes(_distinct(offsets))))

    def thickness_mm(self, index: int) -> float:
        """What a slice stands for: to the middle of each gap beside it, at an end as far beyond."""
        below, above = max(index - 1, 0), min(index + 1, len(self.offsets_mm) - 1)
        return (self.offsets_mm[above] - self.offsets_mm[below]) / (above - below)

    def nearest(self, contour: Sequence[Point]) -> int | None:
        """Which slice a contour lies on; None beyond the first and the last.

        Raises ActivityRefused between slices.
        """
        normal = cross(self.along_row, self.down_column)
        along = [dot(point, normal) for point in contour]
        middle = sum(along) / len(along)
        index = min(range(len(self.offsets_mm)), key=lambda n: abs(self.offsets_mm[n] - middle))
        beyond_mm = max(self.offsets_mm[0] - middle, middle - self.offsets_mm[-1])
        if beyond_mm > self.thickness_mm(index) / 2:
            return None
        off_mm = max(abs(one - self.offsets_mm[index]) for one in along)
        if off_mm > _OFF_PLANE_MM:
            raise ActivityRefused(
                "the ROI does not lie on the slices of this CT: it has a contour that is "
                f"{off_mm:.2f} mm off"
            )
        return index

    def flat(self, contour: Sequence[Point]) -> list[Flat]:
        """The contour within its plane."""
        return [(dot(p, self.along_row), dot(p, self.down_column)) for p in contour]


@dataclass(frozen=True)
class Outline:
    """An ROI on a CT's slices. warnings: what was left out or may be read otherwise."""

    slices: Slices
    by_slice: dict[int, list[Region]]
    warnings: tuple[str, ...] = ()

    @cached_property
    def volume_ml(self) -> float:
        """Area times slice distance; measured once."""
        return self._ml({n: enclosed(found) for n, found in self.by_slice.items()})

    @cached_property
    def holes_ml(self) -> float:
        """What contours within contours take away."""
        several = {n: found for n, found in self.by_slice.items() if len(found) > 1}
        return self._ml({n: covered(found) - enclosed(found) for n, found in several.items()})

    def volume_within_ml(self, other: Outline) -> float:
        """Of what both enclose; other: on the same slices."""
        both = self.by_slice.keys() & other.by_slice.keys()
        return self._ml({n: shared(self.by_slice[n], other.by_slice[n]) for n in both})

    def _ml(self, areas_mm2: Mapping[int, float]) -> float:
        return sum(mm2 * self.slices.thickness_mm(n) for n, mm2 in areas_mm2.items()) / 1000


def outline(
    contours: Sequence[Sequence[Point]],
    slices: Slices,
    *,
    exclusive: bool = False,
    most_comparisons: float = inf,
) -> Outline:
    """An ROI's contours: repeats count once, overlapping ones are a union, inner ones are holes.

    exclusive: CLOSEDPLANAR_XOR. Raises ActivityRefused for contours off the slices, or on some
    slices only, or where more than a few lie beyond the CT, or where measuring takes more than
    most_comparisons, as planar.comparisons counts them.
    """
    drawn: dict[int, list[Polygon]] = {}
    too_short = beyond = 0
    for contour in contours:
        if len(contour) < 3:
            too_short += 1
        elif (index := slices.nearest(contour)) is None:
            beyond += 1
        else:
            drawn.setdefault(index, []).append(polygon(slices.flat(contour)))
    if contours and too_short == len(contours):
        raise ActivityRefused("the ROI has no contour of three points or more: it has no volume")
    if beyond and (not drawn or beyond > max(1, _MOST_BEYOND * len(contours))):
        raise ActivityRefused(
            f"the ROI does not lie on the slices of this CT: {beyond} of {len(contours)} contours "
            "are beyond its ends"
        )
    if sum(map(comparisons, drawn.values())) > most_comparisons:
        raise ActivityRefused(
            "the ROI has too many contours over and beside each other to be measured here: give "
            "its volume"
        )
    crossing = sum(crosses_itself(one) for polygons in drawn.values() for one in polygons)
    warnings = []
    if too_short:
        warnings.append(f"{too_short} contours of one or two points were left out")
    if beyond:
        warnings.append(f"{beyond} contours beyond the CT's first or last slice were left out")
    if crossing:
        warnings.append(
            f"{crossing} contours cross themselves: what a line enters an odd number of times "
            "counts as inside"
        )
    warnings += gap_warnings(sorted(drawn))
    found = {n: regions(polygons, exclusive=exclusive) for n, polygons in drawn.items()}
    return Outline(slices, found, tuple(warnings))


def volumes_of(
    outlines: Mapping[str, Outline], *, outside_is_meant: bool = False
) -> tuple[dict[str, float], list[str]]:
    """The volume in mL of each outline, by its quantity, and what is to be said of it.

    Of a part that lies partly outside its whole, where both are outlined, what is inside counts;
    ActivityRefused for more than a tenth outside, unless that is meant.
    """
    volumes, warnings = {}, []
    for name, one in outlines.items():
        volumes[name] = one.volume_ml
        warnings += [f"{name}: {warning}" for warning in one.warnings]
        if one.holes_ml > one.volume_ml:
            warnings.append(
                f"{name}: {one.holes_ml:.1f} mL lie in contours within contours, which are holes, "
                "more than what is left: check whether an outline was drawn twice"
            )
        whole = _WHOLES.get(name)
        if not whole or not one.volume_ml:
            continue
        if whole not in outlines:
            warnings.append(
                f"{name}: no outline for {whole} is known: whether it lies within was not checked"
            )
            continue
        inside_ml = one.volume_within_ml(outlines[whole])
        outside_ml = one.volume_ml - inside_ml
        if outside_ml > _MOST_OUTSIDE * one.volume_ml and not outside_is_meant:
            raise ActivityRefused(
                f"{100 * outside_ml / one.volume_ml:.0f} % of the outline for {name} lie outside "
                f"that for {whole}: choose the right ones, or set OutsideIsMeant"
            )
        if outside_ml > _ROUNDING * one.volume_ml:
            volumes[name] = inside_ml
            warnings.append(
                f"{name}: {outside_ml:.1f} mL of the outline lie outside that for {whole} and do "
                "not count"
            )
    return volumes, warnings


def check_frame(of_outline: str, of_ct: str) -> None:
    """Compare FrameOfReferenceUIDs, without which no coordinate means anything."""
    if not of_outline:
        raise ActivityRefused("the outline does not say in which frame of reference it lies")
    if of_outline != of_ct:
        raise ActivityRefused("the outline lies in another frame of reference than this CT")


def doubts_about_series(of_outline: Collection[str], of_ct: str) -> tuple[str, ...]:
    """What is to be said where an outline names other series than the CT; none named, nothing."""
    if not of_outline or not of_ct or of_ct in of_outline:
        return ()
    return (
        "the outline says that it was drawn on another series than this CT: check that both show "
        "the same breath",
    )


def doubts_about_points(
    told: Sequence[int], contours: Sequence[Sequence[Point]]
) -> tuple[str, ...]:
    """What is to be said of contours that hold another number of points than they say; told: 0
    where nothing is said."""
    other = sum(0 < says != len(has) for says, has in zip(told, contours, strict=True))
    if not other:
        return ()
    return (
        f"{other} contours hold another number of points than they say (NumberOfContourPoints): "
        "they may be cut off",
    )


def agree(told_ml: float, outlined_ml: float) -> bool:
    """Whether a segmentation's report and its contours can be of one liver."""
    return isclose(told_ml, outlined_ml, rel_tol=_AGREE)


def gap_warnings(outlined: Sequence[int]) -> list[str]:
    """Say which slices between outlined ones, counted from 0 and ascending, have no contour.

    ActivityRefused where parts are thin.
    """
    gaps = [(below, above) for below, above in pairwise(outlined) if above > below + 1]
    if not gaps:
        return []
    ends = [outlined[0], *(n for gap in gaps for n in gap), outlined[-1]]
    thinnest = min(last - first + 1 for first, last in zip(ends[::2], ends[1::2], strict=True))
    between = ", ".join(
        f"{below + 2}" if above == below + 2 else f"{below + 2}-{above}" for below, above in gaps
    )
    missing = f"the ROI has no contour on slice {between} (counted from 1), but below and above"
    if thinnest < _SLICES_OF_A_PART:
        raise ActivityRefused(f"{missing}: it has no volume; interpolate it")
    return [f"{missing}: taken as separate parts"]


def _distinct(offsets: Sequence[float]) -> list[float]:
    """Ascending; a duplicate of a slice is no slice of its own."""
    kept: list[float] = []
    for offset in sorted(offsets):
        if not kept or offset - kept[-1] >= _SAME_POSITION_MM:
            kept.append(offset)
    return kept


def _on_their_planes(offsets: Sequence[float]) -> list[float]:
    """Where each slice's plane lies, as the CT's reader has them."""
    if len(offsets) < 2:
        raise ActivityRefused("the CT has fewer than two slices: no ROI has a volume")
    places = places_of(offsets)
    line = line_through(offsets, places)
    nearest_mm = min(above - below for below, above in pairwise(places)) * line.step_mm
    if line.off_mm > tolerance_mm(nearest_mm):
        raise ActivityRefused("the CT's slices are not evenly spaced: no ROI has a volume")
    return [line.at(place) for place in places]


def _point(numbers: Sequence[float]) -> Point:
    x, y, z = numbers
    return x, y, z


def dot(one: Point, other: Point) -> float:
    """The scalar product."""
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def cross(one: Point, other: Point) -> Point:
    """The vector product: of a row's and a column's direction, a stack's normal."""
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
