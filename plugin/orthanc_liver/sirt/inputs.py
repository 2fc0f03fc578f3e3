"""What the formulas are given: every number with its unit and its origin, nonsense refused.

A refusal names the quantity and its range, never its value, which may be the patient's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_liver.liver_errors import LiverError

GIVEN = "given"


class ActivityRefused(LiverError):
    """No activity can be computed from these inputs."""


@dataclass(frozen=True)
class Quantity:
    """A number that may be given. low and high: beyond them it is a mistake, whoever gave it."""

    name: str
    symbol: str
    unit: str
    meaning: str
    low: float
    high: float


@dataclass(frozen=True)
class Input:
    """One number as it went into a formula, and where it came from."""

    quantity: Quantity
    value: float
    origin: str


Inputs = dict[str, Input]

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("LiverMl", "V_L", "mL", "liver volume, tumour included", 1, 20000),
        Quantity("TumourMl", "V_T", "mL", "tumour volume in the whole liver", 0, 20000),
        Quantity(
            "LobeMl", "V_lobe", "mL", "volume of the lobe to treat, tumour included", 1, 20000
        ),
        Quantity("LobeTumourMl", "V_T,lobe", "mL", "tumour volume in that lobe", 0, 20000),
        Quantity("HeightM", "H", "m", "height", 0.5, 2.5),
        Quantity("WeightKg", "W", "kg", "weight", 10, 400),
        Quantity("LungShunt", "LSF", "", "lung shunt as a fraction", 0, 0.99),
        Quantity("TumourToNormal", "TNR", "", "tumour-to-normal uptake ratio", 0.01, 100),
        Quantity("DoseGy", "D", "Gy", "planned mean dose to the whole liver", 0.1, 5000),
        Quantity("TumourDoseGy", "D_T", "Gy", "planned mean dose to the tumour", 0.1, 5000),
        Quantity("NormalDoseGy", "D_N", "Gy", "planned mean dose to the normal liver", 0.1, 5000),
        Quantity("ActivityGbq", "A", "GBq", "activity whose doses are asked for", 0.001, 100),
        Quantity("Residual", "R", "", "fraction of the activity left behind in the vial", 0, 0.99),
        Quantity("LungMassKg", "M_L", "kg", "mass of the lungs", 0.1, 5),
        Quantity("VialGbq", "A_vial", "GBq", "activity of the largest vial at hand", 0.01, 100),
    )
}


# Volumes that an outline may give, by what a request calls the ROI.
ROIS = {
    "LiverRoi": "LiverMl",
    "TumourRoi": "TumourMl",
    "LobeRoi": "LobeMl",
    "LobeTumourRoi": "LobeTumourMl",
}


def read_input(name: str, value: Any, origin: str) -> Input:
    """One number, checked by itself."""
    quantity = QUANTITIES[name]
    number = _finite(value)
    if number is None:
        raise ActivityRefused(f"the {_named(quantity)} ({origin}) is not a finite number")
    if not quantity.low <= number <= quantity.high:
        unit = f" {quantity.unit}" if quantity.unit else ""
        raise ActivityRefused(
            f"the {_named(quantity)} ({origin}) must be from {quantity.low:g} to "
            f"{quantity.high:g}{unit}{_likely_mistake(name, number)}"
        )
    return Input(quantity, number, origin)


def read_inputs(values: Mapping[str, Any], origin: str = GIVEN) -> Inputs:
    """Numbers by their names in QUANTITIES; a name that is not there is refused."""
    unknown = sorted(set(values) - set(QUANTITIES))
    if unknown:
        raise ActivityRefused(f"unknown: {', '.join(unknown)}; known: {', '.join(QUANTITIES)}")
    return {name: read_input(name, value, origin) for name, value in values.items()}


def read_report(report: Any, origin: str) -> tuple[Input, tuple[str, ...]]:
    """The liver's volume in a segmentation's report, and the warnings that go with it."""
    if not isinstance(report, Mapping) or "liver_ml" not in report:
        raise ActivityRefused("the report is not one of a segmentation: it has no liver_ml")
    if report["liver_ml"] is None:
        raise ActivityRefused("the segmentation found no liver: give the liver volume")
    warnings = report.get("warnings", [])
    if not isinstance(warnings, list) or not all(isinstance(one, str) for one in warnings):
        raise ActivityRefused("the report's warnings are not a list of sentences")
    return read_input("LiverMl", report["liver_ml"], origin), tuple(warnings)


def check_parts(inputs: Inputs) -> None:
    """A part is not larger than its whole."""
    for part, whole in (
        ("TumourMl", "LiverMl"),
        ("LobeMl", "LiverMl"),
        ("LobeTumourMl", "LobeMl"),
        ("LobeTumourMl", "TumourMl"),
        ("LobeTumourMl", "LiverMl"),
    ):
        if part in inputs and whole in inputs and inputs[part].value > inputs[whole].value:
            larger, smaller = QUANTITIES[part], QUANTITIES[whole]
            raise ActivityRefused(f"the {_named(larger)} is larger than the {_named(smaller)}")


def names(quantities: Iterable[str]) -> str:
    """What a sentence calls them."""
    return ", ".join(_named(QUANTITIES[name]) for name in quantities)


def _named(quantity: Quantity) -> str:
    return f"{quantity.meaning}, {quantity.name}"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number too long for a float
        return None


def _likely_mistake(name: str, number: float) -> str:
    low, high = QUANTITIES["HeightM"].low, QUANTITIES["HeightM"].high
    if name == "HeightM" and low <= number / 100 <= high:
        return ": this looks like centimetres, divide by 100"
    if name == "HeightM" and low <= number * 100 <= high:
        return ": this looks like metres divided by 100 as if they were centimetres"
    if name in ("LungShunt", "Residual") and 1 <= number <= 100:
        return ": for 12 % give 0.12"
    return ""
