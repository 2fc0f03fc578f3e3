"""Which of somebody's outlines is meant: by its name, or by a pattern."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orthanc_liver.liver_errors import LiverError

ROI_HELP = (
    "what the liver is called: exact names, the first that there is, or /PATTERN/ for a regular "
    "expression, in capitals or not; default: the one named liver, or the only one that holds it"
)
_LABELS = re.compile(r"\d+(\+\d+)*")


class OutlineRefused(LiverError):
    """There is no such outline, or it does not fit its CT."""


class EmptyOutline(OutlineRefused):
    """It is there and holds nothing: whoever drew it found no liver."""


@dataclass(frozen=True)
class RoiChoice:
    """The first of these that an outline is called: names, capitals too, before patterns.

    patterns: regular expressions that a name must hold, capitals or not.
    """

    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: Sequence[str]) -> RoiChoice:
        """From a person's words, patterns between slashes; none: the liver, as most call it.

        Raises OutlineRefused.
        """
        if not words:
            return LIVER
        patterns = [one[1:-1] for one in words if _is_pattern(one)]
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise OutlineRefused(
                    f"/{pattern}/ is no regular expression ({error}): correct it"
                ) from error
        return cls(tuple(one for one in words if not _is_pattern(one)), tuple(patterns))

    @property
    def labels(self) -> frozenset[int]:
        """The labels of an image that are meant together, 1+2; none where no word is of numbers."""
        numbers = (one for one in self.names if _LABELS.fullmatch(one))
        return frozenset(int(one) for one in next(numbers, "").split("+") if one)

    def among(self, names: Mapping[int, str], drawn: Collection[int], path: Path) -> int:
        """Return the number of the one that is meant among those that are drawn.

        names: of all, by number. path: for messages. Raises EmptyOutline where it is there and
        not drawn, OutlineRefused where it is not there or not the only one.
        """
        for found in self._tries(names):
            if here := [number for number in found if number in drawn]:
                break
        else:
            if any(self._tries(names)):
                raise EmptyOutline(f"{path} names {self} but has no contour for it")
            there_are = _listed(names.values())
            raise OutlineRefused(f"{path} outlines nothing named {self}; there are: {there_are}")
        if len(here) > 1:
            listed = _listed(names[number] for number in here)
            raise OutlineRefused(
                f"{path} outlines several named {self}: {listed}; say which by its exact name"
            )
        return here[0]

    def _tries(self, names: Mapping[int, str]) -> list[list[int]]:
        """Whom each word is for."""
        exact = [[n for n, name in names.items() if name == word] for word in self.names]
        return exact + [
            [n for n, name in names.items() if re.search(pattern, name, re.IGNORECASE)]
            for pattern in self.patterns
        ]

    def __str__(self) -> str:
        return " or ".join([*map(repr, self.names), *(f"/{one}/" for one in self.patterns)])


LIVER = RoiChoice(patterns=("^liver$", "liver"))
ANY = RoiChoice(patterns=("",))


def _is_pattern(word: str) -> bool:
    return len(word) > 1 and word.startswith("/") and word.endswith("/")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none at all"
