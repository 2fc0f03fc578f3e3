"""What decides whether an outline may leave, where no client of Orthanc can write it.

Metadata shows people what was decided; this is what is acted on. It lies in the plugin's own
properties, which Orthanc's REST API has no route to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from orthanc_liver.engine.protocol import SURE
from orthanc_liver.host.review.review import Review, Verdict
from orthanc_liver.host.settings import ACCEPTED_IF_DOUBTFUL, AT_ONCE

DRAWERS = 64
_PER_DRAWER = 128


@dataclass(frozen=True)
class Clearance:
    """outline: Orthanc's id of the RTSTRUCT; grade: empty where nobody gave it one; review: the
    last word of a person on it."""

    series: str
    outline: str
    grade: str = ""
    review: Review | None = None

    def opens(self, when: str) -> bool:
        """Whether the result goes where such a word of SendAfter stands; no grade is a doubt."""
        if self.review:
            return self.review.verdict is Verdict.ACCEPTED
        return when == AT_ONCE or (when == ACCEPTED_IF_DOUBTFUL and self.grade == SURE)


class Shelf(Protocol):
    """Where clearances outlive a restart, some in each drawer, for each is written whole."""

    def read_clearances(self) -> list[Clearance]: ...
    def keep_clearances(self, drawer: int, clearances: list[Clearance]) -> None: ...


class Clearances:
    """Shared by Orthanc's threads and the worker. The oldest give way, and then count as unknown:
    such an outline waits for a person where it would for want of a grade."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._all: dict[str, Clearance] = {}  # by outline, the oldest first
        self._lock = threading.RLock()

    def restore(self) -> None:
        """Take up what was kept; StateUnreadable where it is not ours."""
        with self._lock:
            self._all = {one.outline: one for one in self._shelf.read_clearances()}

    def of(self, series: str, outline: str) -> Clearance:
        """What is known of an outline."""
        with self._lock:
            return self._all.get(outline, Clearance(series, outline))

    def decided(self, series: str, noted: Iterable[Review]) -> list[Review]:
        """Of the reviews that a series' metadata notes those of outlines that somebody decided on,
        and then the last word on each, which a note cannot change."""
        with self._lock:
            of_series = (one for one in self._all.values() if one.series == series)
            words = {one.outline: one.review for one in of_series if one.review}
        return [*(one for one in noted if one.rtstruct in words), *words.values()]

    def note_grade(self, series: str, outline: str, grade: str) -> None:
        """A job made it; made again, the word on it stands. OrthancError where it is not kept."""
        with self._lock:
            self._put(replace(self.of(series, outline), grade=grade))

    def note_review(self, review: Review) -> None:
        """A person decided; OrthancError where that is not kept, and then nothing is."""
        with self._lock:
            self._put(replace(self.of(review.series, review.rtstruct), review=review))

    def forget(self, series: str) -> None:
        """It was deleted, and its outlines mean nothing any more."""
        with self._lock:
            gone = [one for one in self._all.values() if one.series == series]
            for one in gone:
                del self._all[one.outline]
            for drawer in {_drawer(one.outline) for one in gone}:
                self._shelf.keep_clearances(drawer, self._in_drawer(drawer))

    def series(self) -> set[str]:
        """Of which series anything is kept."""
        with self._lock:
            return {one.series for one in self._all.values()}

    def _put(self, one: Clearance) -> None:
        drawer = _drawer(one.outline)
        others = [each for each in self._in_drawer(drawer) if each.outline != one.outline]
        kept = [*others, one][-_PER_DRAWER:]
        self._shelf.keep_clearances(drawer, kept)
        for each in others:
            del self._all[each.outline]
        self._all.pop(one.outline, None)
        self._all |= {each.outline: each for each in kept}

    def _in_drawer(self, drawer: int) -> list[Clearance]:
        return [one for one in self._all.values() if _drawer(one.outline) == drawer]


def _drawer(outline: str) -> int:
    return int(outline[:8], 16) % DRAWERS
