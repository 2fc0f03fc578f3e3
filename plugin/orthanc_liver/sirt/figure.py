"""One computed number, as every step of an activity is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """value is None where there must not be one. formula: "symbol = how it came about"."""

    name: str
    meaning: str
    value: float | None
    unit: str
    formula: str

    @property
    def symbol(self) -> str:
        """What the formulas of later figures call it."""
        return self.formula.partition(" = ")[0]


def value_of(figures: Iterable[Figure], name: str) -> float | None:
    """None where there is no such figure, or it has no value."""
    return next((one.value for one in figures if one.name == name), None)
