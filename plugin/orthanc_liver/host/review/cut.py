"""A person's cut of a liver into parts: what a request may ask, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orthanc_liver.engine.protocol import MOST_DRAWINGS, MOST_NUMBERS, MOST_REGIONS, Cut
from orthanc_liver.host.errors import CutAskedBadly
from orthanc_liver.host.server.times import text_of

PLANE_NUMBERS, LEAST_NUMBERS = 9, 9
FARTHEST_MM = 20_000


@dataclass(frozen=True)
class StoredCut:
    """A cut whose parts are stored. outline: the SOP Instance UID of the result that was cut, or
    whose accepted copy was; by: as of a Review; parts_ml: by name; superseded_by: the UID of what
    took its place, empty while it stands."""

    series: str
    outline: str
    cut: Cut
    by: str
    is_typed: bool
    time: datetime
    parts_ml: Mapping[str, float]
    superseded_by: str = ""

    def as_json(self) -> dict[str, Any]:
        """As it is shown, and as it is kept."""
        return {
            "Series": self.series,
            "Outline": self.outline,
            "Plane": list(self.cut.plane),
            "Lassos": [[list(one) for one in region] for region in self.cut.lassos],
            "By": self.by,
            "IsTyped": self.is_typed,
            "Time": text_of(self.time),
            "PartsMl": dict(self.parts_ml),
            "SupersededBy": self.superseded_by,
        }


def cut_asked(asked: Mapping[str, Any]) -> Cut:
    """The cut that a request's Plane or Lassos mean, rounded to 0.001 mm.

    CutAskedBadly for what is none; whether it meets the liver is seen later.
    """
    if ("Plane" in asked) == ("Lassos" in asked):
        raise CutAskedBadly("give either Plane or Lassos")
    if "Plane" in asked:
        points = _points(asked["Plane"], "Plane")
        if len(points) != PLANE_NUMBERS:
            raise CutAskedBadly("Plane must be three points: x, y, z, x, y, z, x, y, z")
        return Cut(plane=points)
    regions = _list(asked["Lassos"], "Lassos")
    lassos = tuple(tuple(_drawing(one) for one in _list(region, "Lassos")) for region in regions)
    drawings = [one for region in lassos for one in region]
    if not 1 <= len(lassos) <= MOST_REGIONS or not all(lassos):
        raise CutAskedBadly(f"Lassos must be 1 to {MOST_REGIONS} regions, each of some drawings")
    if len(drawings) > MOST_DRAWINGS or sum(map(len, drawings)) > MOST_NUMBERS:
        raise CutAskedBadly(
            f"Lassos may hold {MOST_DRAWINGS} drawings of {MOST_NUMBERS // 3} points in all: draw "
            "on fewer slices"
        )
    return Cut(lassos=lassos)


def _drawing(value: Any) -> tuple[float, ...]:
    points = _points(value, "Lassos")
    if len(points) < LEAST_NUMBERS:
        raise CutAskedBadly("a drawing of Lassos must have three points or more")
    return points


def _points(value: Any, name: str) -> tuple[float, ...]:
    numbers = _list(value, name)
    if len(numbers) % 3 or len(numbers) > MOST_NUMBERS or not all(map(_is_place, numbers)):
        raise CutAskedBadly(
            f"{name} must hold numbers in mm from -{FARTHEST_MM} to {FARTHEST_MM}: x, y, z of each "
            "point"
        )
    return tuple(round(float(one), 3) for one in numbers)


def _is_place(number: Any) -> bool:
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return is_number and abs(number) <= FARTHEST_MM  # not so of NaN


def _list(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise CutAskedBadly(f"{name} must be a list")
    return value


def what_stands(cuts: Iterable[tuple[str, StoredCut]], outline: str) -> dict[str, str]:
    """By its UID, what took each cut's place; empty for those that stand: of each person the
    newest by a plane and the newest by lassos, of the outline that stands.

    cuts: with the SOP Instance UIDs of their parts; outline: the UID of the result that stands.
    """
    newest: dict[tuple[str, str, bool], str] = {}
    ordered = sorted(cuts, key=lambda pair: pair[1].time)
    for uid, one in ordered:
        newest[_whose(one)] = uid
    found = {}
    for uid, one in ordered:
        last = newest[_whose(one)]
        found[uid] = last if last != uid else "" if one.outline == outline else outline
    return found


def _whose(one: StoredCut) -> tuple[str, str, bool]:
    return one.outline, one.by, bool(one.cut.plane)
