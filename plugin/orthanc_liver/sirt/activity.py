"""One activity with all that is needed to follow it by hand: steps, inputs, origins, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.inputs import GIVEN, QUANTITIES, ActivityRefused, Input, Inputs, check_parts
from orthanc_liver.sirt.inputs import names as named
from orthanc_liver.sirt.methods import Figure, Method, method_named

NOTE = "For review by a physician; not a medical device."

USUAL_LIVER_ML = (500.0, 5000.0)
LUNG_DOSE_LIMIT_GY = 30.0


@dataclass(frozen=True)
class Activity:
    """What one method comes to."""

    method_name: str
    method: Method
    figures: tuple[Figure, ...]
    inputs: tuple[Input, ...]
    warnings: tuple[str, ...]

    @property
    def activity_gbq(self) -> float | None:
        """What the method is for; None: do not treat."""
        return next(one.value for one in self.figures if one.name == "ActivityGbq")

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's own types and unrounded."""
        return {
            "Method": self.method_name,
            "Title": self.method.title,
            "ActivityGbq": self.activity_gbq,
            "Results": [
                {
                    "Name": one.name,
                    "Meaning": one.meaning,
                    "Value": one.value,
                    "Unit": one.unit,
                    "Formula": one.formula,
                }
                for one in self.figures
            ],
            "Inputs": [
                {
                    "Name": one.quantity.name,
                    "Symbol": one.quantity.symbol,
                    "Meaning": one.quantity.meaning,
                    "Value": one.value,
                    "Unit": one.quantity.unit,
                    "Origin": one.origin,
                }
                for one in self.inputs
            ],
            "Warnings": list(self.warnings),
            "Sources": list(self.method.sources),
            "Note": NOTE,
        }

    def as_text(self) -> str:
        """Everything, for reading."""
        activity = self.activity_gbq
        lines = [f"Y-90 activity, {self.method.title}", NOTE, ""]
        lines.append("activity: " + ("none" if activity is None else f"{activity:.4f} GBq"))
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += ["", "Steps"]
        for figure in self.figures:
            value = "none" if figure.value is None else f"{figure.value:.6g} {figure.unit}".rstrip()
            lines.append(f"  {figure.meaning}: {value}    {figure.formula}")
        lines += ["", "Inputs"]
        for one in self.inputs:
            quantity = one.quantity
            value = f"{one.value:.10g} {quantity.unit}".rstrip()
            lines.append(f"  {quantity.symbol} = {value}    {quantity.meaning} ({one.origin})")
        lines += ["", "Sources", *(f"  {source}" for source in self.method.sources)]
        return "\n".join(lines) + "\n"


def compute_activity(
    method_name: str, inputs: Inputs, segmentation_warnings: Sequence[str] = ()
) -> Activity:
    """Compute by one of METHODS; ActivityRefused where an input is missing or makes no sense.

    segmentation_warnings: of the segmentation that the liver volume came from.
    """
    method = method_named(method_name)
    check_parts(inputs)
    missing = [name for name in method.needs if name not in inputs]
    if missing:
        raise ActivityRefused(f"the method {method_name} also needs: {named(missing)}")
    defaults = {one.quantity.name: one for one in method.defaults}
    taken = {*method.needs, *method.optional, *defaults}
    used = defaults | {name: one for name, one in inputs.items() if name in taken}
    figures = method.figures(used)
    warnings = [
        *segmentation_warnings,
        *volume_warnings(used["LiverMl"].value),
        *_shunt_warnings(inputs, figures),
        *_activity_warnings(used, figures),
        *_unused_warnings(method_name, inputs, taken),
    ]
    in_order = dict.fromkeys((*QUANTITIES, *defaults))
    return Activity(
        method_name,
        method,
        tuple(figures),
        tuple(used[name] for name in in_order if name in used),
        tuple(dict.fromkeys(warnings)),
    )


def volume_warnings(liver_ml: float) -> list[str]:
    """Say where a volume is unusual for a liver; of a segmentation's report too."""
    low, high = USUAL_LIVER_ML
    if low <= liver_ml <= high:
        return []
    return [
        f"the liver measures {liver_ml:.0f} mL, outside the usual {low:.0f}-{high:.0f} mL: "
        "check the outline"
    ]


def _shunt_warnings(inputs: Inputs, figures: Sequence[Figure]) -> list[str]:
    if "LungShunt" not in inputs:
        return ["the lung shunt was not given: the activity is not corrected for it"]
    shunt = inputs["LungShunt"].value
    values = {one.name: one.value for one in figures}
    warnings = []
    if shunt > formulas.LUNG_SHUNT_LIMIT:
        resin = "LungShuntFactor" in values
        consequence = "do not treat" if resin else "resin would not be given"
        warnings.append(f"the lung shunt, {100 * shunt:g} %, is above 20 %: {consequence}")
    factor = values.get("LungShuntFactor")
    if factor is not None and factor < 1:
        warnings.append(
            f"the lung shunt, {100 * shunt:g} %, is not below 10 %: "
            f"the activity is reduced to {100 * factor:g} %"
        )
    lung_gy = values.get("LungDoseGy")
    if lung_gy is not None and lung_gy > LUNG_DOSE_LIMIT_GY:
        warnings.append(
            f"the lungs would get {lung_gy:.1f} Gy, more than {LUNG_DOSE_LIMIT_GY:g} Gy"
        )
    return warnings


def _activity_warnings(used: Inputs, figures: Sequence[Figure]) -> list[str]:
    warnings = []
    activity = next(one.value for one in figures if one.name == "ActivityGbq")
    vial = used.get("VialGbq")
    if vial and activity is not None and activity > vial.value:
        warnings.append(
            f"the activity, {activity:.2f} GBq, is more than one vial holds, {vial.value:g} GBq "
            f"({vial.origin})"
        )
    if "TumourToNormal" in used and used["TumourToNormal"].value < 1:
        warnings.append("the tumour-to-normal ratio is below 1: the tumour gets the lower dose")
    return warnings


def _unused_warnings(method_name: str, inputs: Inputs, taken: set[str]) -> list[str]:
    unused = [name for name, one in inputs.items() if one.origin == GIVEN and name not in taken]
    return [f"not used by the method {method_name}: {named(unused)}"] if unused else []
