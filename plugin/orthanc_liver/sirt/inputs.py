"""What the formulas are given: every number with its unit and its origin, nonsense refused.

A refusal names the quantity and its range, never its value, which may be the patient's. Usual
ranges are our own, chosen to notice a slipped unit; they are nobody's clinical limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.liver_errors import LiverError

GIVEN = "given"
# How the mass came about, and how far that was checked.
MEASURED_LUNGS = "measured by density on this CT; the method was checked on phantoms only"


class ActivityRefused(LiverError):
    """No activity can be computed from these inputs."""


@dataclass(frozen=True)
class Quantity:
    """A number that may be given. low and high: beyond them it is a mistake, whoever gave it.

    usual: beyond it there is a warning; None where another warning tells, or nothing is unusual.
    goes_with: the quantity without which this one would change nothing.
    """

    name: str
    symbol: str
    unit: str
    meaning: str
    low: float
    high: float
    usual: tuple[float, float] | None = None
    goes_with: str = ""


@dataclass(frozen=True)
class Input:
    """One number as it went into a formula, and where it came from."""

    quantity: Quantity
    value: float
    origin: str


Inputs = dict[str, Input]

_TREATED = "part to treat (segment, lobe)"

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        # 500 to 5000 mL are usual: told in the segmentation's own words, see activity.py.
        Quantity("LiverMl", "V_L", "mL", "liver volume, tumour included", 20, 20000),
        Quantity(
            "TumourMl", "V_T", "mL", "tumour volume in the whole liver", 0, 20000, (0.5, 3000)
        ),
        Quantity(
            "LobeMl",
            "V_lobe",
            "mL",
            "volume of the lobe to treat, tumour included",
            10,
            20000,
            (50, 4000),
        ),
        Quantity(
            "LobeTumourMl", "V_T,lobe", "mL", "tumour volume in that lobe", 0, 20000, (0.5, 3000)
        ),
        Quantity(
            "PerfusedMl",
            "V_P",
            "mL",
            f"volume of the {_TREATED}, tumour included",
            5,
            20000,
            (30, 4000),
        ),
        Quantity(
            "PerfusedTumourMl",
            "V_T,P",
            "mL",
            "tumour volume in that part",
            0,
            20000,
            (0.5, 3000),
            goes_with="PerfusedMl",
        ),
        Quantity("HeightM", "H", "m", "height", 0.5, 2.5, (1.2, 2.2)),
        Quantity("WeightKg", "W", "kg", "weight", 10, 400, (30, 250)),
        # 10, 15 and 20 % and the lungs' dose are told as what follows from them.
        Quantity("LungShunt", "LSF", "", "lung shunt as a fraction", 0, 0.99),
        Quantity("TumourToNormal", "TNR", "", "tumour-to-normal uptake ratio", 0.01, 100, (1, 20)),
        Quantity(
            "DoseGy",
            "D",
            "Gy",
            "planned mean dose to the perfused volume",
            0.1,
            5000,
            (40, 1000),
        ),
        Quantity(
            "TumourDoseGy", "D_T", "Gy", "planned mean dose to the tumour", 0.1, 5000, (50, 1500)
        ),
        Quantity(
            "NormalDoseGy",
            "D_N",
            "Gy",
            "planned mean dose to the normal liver that is perfused",
            0.1,
            5000,
            (10, 150),
        ),
        Quantity(
            "ActivityGbq",
            "A",
            "GBq",
            "activity at treatment whose doses are asked for",
            0.001,
            100,
            (0.1, 20),
        ),
        Quantity(
            "Residual",
            "R",
            "",
            "fraction of the activity left behind in the vial",
            0,
            0.99,
            (0, 0.2),
        ),
        Quantity(
            "LungMassKg", "M_L", "kg", "mass of the lungs", 0.1, 5, (0.4, 2), goes_with="LungShunt"
        ),
        Quantity(
            "EarlierLungDoseGy",
            "D_L,earlier",
            "Gy",
            "mean dose to the lungs of all earlier treatments",
            0,
            500,
            (0, 50),
            goes_with="LungShunt",
        ),
        Quantity("BilirubinMgDl", "Bili", "mg/dL", "total bilirubin", 0.01, 60, (0.1, 5)),
        Quantity(
            "VialGbq", "A_vial", "GBq", "activity of the vial at calibration", 0.01, 100, (0.5, 20)
        ),
        Quantity("HoursToTreatment", "t", "h", "calibration to treatment", 0, 1000, (0, 336)),
        Quantity(
            "PreparedGbq",
            "A_prep",
            "GBq",
            "activity prepared, at treatment",
            0.001,
            100,
            (0.1, 20),
            goes_with="LeftBehindGbq",
        ),
        Quantity(
            "LeftBehindGbq",
            "A_rest",
            "GBq",
            "activity left behind in vial, tubing and catheter, as measured afterwards",
            0,
            100,
            (0, 2),
            goes_with="PreparedGbq",
        ),
        Quantity(
            "HoursToResidual",
            "t_R",
            "h",
            "treatment to that measurement",
            0,
            1000,
            (0, 72),
            goes_with="LeftBehindGbq",
        ),
    )
}


# Volumes that an outline may give, by what a request calls the ROI.
ROIS = {
    "LiverRoi": "LiverMl",
    "TumourRoi": "TumourMl",
    "LobeRoi": "LobeMl",
    "LobeTumourRoi": "LobeTumourMl",
    "PerfusedRoi": "PerfusedMl",
    "PerfusedTumourRoi": "PerfusedTumourMl",
}


@dataclass(frozen=True)
class Choice:
    """A word that may be given, one of options. goes_with: as of a Quantity."""

    name: str
    meaning: str
    options: tuple[str, ...]
    goes_with: str = ""


CHOICES = {
    choice.name: choice
    for choice in (
        Choice("Spheres", "which spheres", ("glass", "resin", "holmium")),
        Choice(
            "ShuntBy",
            "how the lung shunt was measured",
            ("planar", "SPECT/CT"),
            goes_with="LungShunt",
        ),
        Choice(
            "Treatment",
            "which of the guideline's treatments",
            ("segmentectomy", "lobectomy", "unilobar", "bilobar"),
        ),
    )
}
Choices = dict[str, str]


def read_choices(values: Mapping[str, Any]) -> Choices:
    """Words by their names in CHOICES; any other word is refused."""
    for name, value in values.items():
        if value not in CHOICES[name].options:
            raise ActivityRefused(f"{name} must be one of: {', '.join(CHOICES[name].options)}")
    return dict(values)


def read_input(name: str, value: Any, origin: str) -> Input:
    """One number, checked by itself."""
    quantity = QUANTITIES[name]
    number = _finite(value)
    if number is None:
        raise ActivityRefused(f"the {_named(quantity)} ({origin}) is not a finite number")
    if not quantity.low <= number <= quantity.high:
        high = _with_unit(f"{quantity.high:g}", quantity.unit)
        raise ActivityRefused(
            f"the {_named(quantity)} ({origin}) must be from {quantity.low:g} to {high}"
            f"{_likely_mistake(name, number)}"
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
        came_to = report.get("outcome") or Outcome.NO_LIVER
        raise ActivityRefused(f"the report tells no volume ({came_to}): give the liver's")
    warnings = report.get("warnings", [])
    if not isinstance(warnings, list) or not all(isinstance(one, str) for one in warnings):
        raise ActivityRefused("the report's warnings are not a list of sentences")
    return read_input("LiverMl", report["liver_ml"], origin), tuple(warnings)


def read_lungs(report: Any, origin: str) -> Input:
    """The mass of the lungs in a segmentation's report; ActivityRefused where it tells none."""
    told = report.get("lungs") if isinstance(report, Mapping) else None
    if not isinstance(told, Mapping):
        raise ActivityRefused("the report tells nothing of the lungs: segment the CT again")
    if "kg" not in told:
        why = told.get("reason")
        raise ActivityRefused(f"the lungs were not measured: {why}: give LungMassKg, or neither")
    return read_input("LungMassKg", told["kg"], f"{origin}, {MEASURED_LUNGS}")


# The tumour is less than what it lies in, or no normal liver is left.
_TUMOURS = (
    ("TumourMl", "LiverMl"),
    ("LobeTumourMl", "LobeMl"),
    ("LobeTumourMl", "LiverMl"),
    ("PerfusedTumourMl", "PerfusedMl"),
    ("PerfusedTumourMl", "LiverMl"),
)
_PARTS = (
    ("LobeMl", "LiverMl"),
    ("PerfusedMl", "LiverMl"),
    ("LobeTumourMl", "TumourMl"),
    ("PerfusedTumourMl", "TumourMl"),
)
# Ours, wide: what lies beyond is a height or a weight in another unit or of another patient.
_POSSIBLE_BMI = (8.0, 120.0)
# A weight in pounds is 2.2 times that in kilograms: most such slips come to more.
_USUAL_BMI = (14.0, 40.0)
# As much tumour as this is rarely treated in a whole liver or lobe, and segments may be full of it.
_USUAL_SHARES = {("TumourMl", "LiverMl"): 0.7, ("LobeTumourMl", "LobeMl"): 0.8}


def check_parts(inputs: Inputs) -> None:
    """Numbers that contradict each other are refused: volumes, and height and weight."""
    for part, whole in _TUMOURS:
        if part in inputs and whole in inputs and inputs[part].value >= inputs[whole].value:
            raise ActivityRefused(f"the {names([part])} is not smaller than the {names([whole])}")
    for part, whole in _PARTS:
        if part in inputs and whole in inputs and inputs[part].value > inputs[whole].value:
            raise ActivityRefused(f"the {names([part])} is larger than the {names([whole])}")
    normal = _normal_ml(inputs, "LiverMl", "TumourMl")
    perfused = _normal_ml(inputs, "PerfusedMl", "PerfusedTumourMl")
    if normal is not None and perfused is not None and perfused > normal * (1 + 1e-9):
        raise ActivityRefused(
            "the volumes contradict each other: more normal liver is perfused (PerfusedMl less "
            "PerfusedTumourMl) than there is (LiverMl less TumourMl)"
        )
    low, high = _POSSIBLE_BMI
    if not low <= (_bmi(inputs) or low) <= high:
        raise ActivityRefused(
            f"the height, HeightM, and the weight, WeightKg, contradict each other: weight / "
            f"height^2 must be from {low:g} to {high:g} kg/m2; give metres and kilograms"
        )


def unusual(inputs: Iterable[Input]) -> list[str]:
    """A warning for each number that is possible but outside its usual range, alone or beside
    another."""
    given = {one.quantity.name: one for one in inputs}
    warnings = []
    for name, one in given.items():
        usual, unit = one.quantity.usual, one.quantity.unit
        if usual and not usual[0] <= one.value <= usual[1]:
            warnings.append(
                f"the {one.quantity.meaning}, {_with_unit(f'{one.value:g}', unit)}, is outside "
                f"the usual {_with_unit(f'{usual[0]:g}-{usual[1]:g}', unit)}: check it"
                f"{_likely_mistake(name, one.value)}"
            )
    bmi, (low, high) = _bmi(given), _USUAL_BMI
    if bmi is not None and not low <= bmi <= high:
        warnings.append(
            f"height and weight give {bmi:.1f} kg/m2, outside the usual {low:g}-{high:g}: check "
            "them; if the weight is in pounds, divide by 2.205"
        )
    for (part, whole), usual_share in _USUAL_SHARES.items():
        if part in given and whole in given:
            share = given[part].value / given[whole].value
            if share > usual_share:
                warnings.append(
                    f"the {given[part].quantity.meaning} is {100 * share:.0f} % of the "
                    f"{given[whole].quantity.meaning}, more than the usual {100 * usual_share:g} "
                    "%: check both"
                )
    return warnings


def _bmi(inputs: Inputs) -> float | None:
    if "HeightM" not in inputs or "WeightKg" not in inputs:
        return None
    return inputs["WeightKg"].value / inputs["HeightM"].value ** 2


def _normal_ml(inputs: Inputs, whole: str, tumour: str) -> float | None:
    if whole not in inputs or tumour not in inputs:
        return None
    return inputs[whole].value - inputs[tumour].value


def names(quantities: Iterable[str]) -> str:
    """What a sentence calls them."""
    return ", ".join(f"{QUANTITIES[name].meaning} ({name})" for name in quantities)


def _named(quantity: Quantity) -> str:
    return f"{quantity.meaning}, {quantity.name}"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number too long for a float
        return None


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".rstrip()


def _likely_mistake(name: str, number: float) -> str:
    low, high = QUANTITIES["HeightM"].low, QUANTITIES["HeightM"].high
    if name == "HeightM" and low <= number / 100 <= high:
        return ": this looks like centimetres, divide by 100"
    if name == "HeightM" and low <= number * 100 <= high:
        return ": this looks like metres divided by 100 as if they were centimetres"
    if name in ("LungShunt", "Residual") and 1 <= number <= 100:
        return ": for 12 % give 0.12"
    if name.endswith("Ml") and 0 < number <= 6:
        return ": if these are litres, multiply by 1000"
    if name == "BilirubinMgDl" and number > 5:
        return ": if this is umol/L, divide by 17.1"
    return ""
