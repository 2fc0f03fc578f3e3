"""What is told of how far an outline can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

# The signals of doubt that are measured, each larger with the doubt; see doubt.py.
SIGNALS = ("unsure_share", "wrong_share", "disagreement")


def measured_signals(of: object) -> dict[str, float]:
    """Those of an object's fields that are signals and were measured, by name."""
    named = ((name, getattr(of, name)) for name in SIGNALS)
    return {name: share for name, share in named if share is not None}


class Grade(IntEnum):
    """The better one is the smaller."""

    SURE = 0
    LOOK = 1
    DOUBTFUL = 2

    @property
    def word(self) -> str:
        """As files and people call it."""
        return self.name.lower()


@dataclass(frozen=True)
class Region:
    """Where to look: the CT's slices, counted from 1 along its first axis, and how much there."""

    first_slice: int
    last_slice: int
    ml: float

    def __str__(self) -> str:
        return f"{self.first_slice}-{self.last_slice} ({self.ml:.0f} mL)"


@dataclass(frozen=True)
class Doubt:
    """What is told of an outline.

    shares: the signals that were measured, by name. reasons: sentences, each with what to do.
    look_at: the largest regions first.
    """

    grade: Grade
    shares: Mapping[str, float]
    reasons: tuple[str, ...]
    look_at: tuple[Region, ...]

    def at_least(self, grade: Grade) -> Doubt:
        """The same, or of a worse grade for a reason that is told elsewhere."""
        return replace(self, grade=max(self.grade, grade))
