"""One activity with all that is needed to follow it by hand: steps, inputs, origins, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orthanc_liver import NOTE
from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.delivered import delivered_doses, delivered_figures
from orthanc_liver.sirt.figure import Figure, value_of
from orthanc_liver.sirt.inputs import (
    CHOICES,
    GIVEN,
    QUANTITIES,
    ActivityRefused,
    Choices,
    Input,
    Inputs,
    check_parts,
    unusual,
)
from orthanc_liver.sirt.inputs import names as named
from orthanc_liver.sirt.limits import AT_LEAST, LIMITS, Held, Limit, hold, lungs_may_get_gy
from orthanc_liver.sirt.limits import sources as limit_sources
from orthanc_liver.sirt.methods import Method, largest_shunt, method_named
from orthanc_liver.sirt.spheres import SPHERES, Spheres
from orthanc_liver.sirt.vials import VialTable, calibration_figures, vial_table

_LARGEST_SHUNT_SOURCE = (
    "largest lung shunt: derived here from D = k * A * f / M for lungs and liver; the same in "
    "words, for the whole liver: Thomas et al. 2026, doi 10.1093/radadv/umag007 (abstract)"
)
USUAL_LIVER_ML = (500.0, 5000.0)
# Of the liver, as a rule: two segments, and a right lobe with its tumours.
_MOST_OF_LIVER = {"segmentectomy": 0.4, "lobectomy": 0.85, "unilobar": 0.85}
_USUAL_DELIVERED, _MOST_LEFT_BEHIND = (0.8, 1.2), 0.2
# What every method may be given: the vial, when it was calibrated, and what became of it.
_OF_THE_VIAL = ("VialGbq", "HoursToTreatment", "PreparedGbq", "LeftBehindGbq", "HoursToResidual")
_SHUNT_SOURCE = (
    "lung shunt: its median was 6.9 % by planar images, 3.9 % by SPECT/CT (doi "
    "10.1016/j.jvir.2025.09.006)"
)


@dataclass(frozen=True)
class Activity:
    """What one method comes to."""

    method_name: str
    method: Method
    figures: tuple[Figure, ...]
    inputs: tuple[Input, ...]
    chosen: Choices
    limits: tuple[Held, ...]
    warnings: tuple[str, ...]
    table: VialTable | None

    @property
    def activity_gbq(self) -> float | None:
        """What the method is for; None: do not treat."""
        return value_of(self.figures, "ActivityGbq")

    @property
    def spheres(self) -> Spheres:
        """Which the method is for, or was said."""
        return SPHERES[self.chosen["Spheres"]]

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's own types and unrounded."""
        return {
            "Method": self.method_name,
            "Title": self.method.title,
            "Nuclide": self.spheres.nuclide,
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
            "Chosen": self.chosen,
            "Limits": [one.as_json() for one in self.limits],
            "Warnings": list(self.warnings),
            "Sources": list(self.sources),
            "Note": NOTE,
            **({"Table": self.table.as_json()} if self.table else {}),
        }

    @property
    def sources(self) -> tuple[str, ...]:
        """Of the method, of shunt and decay where there are such, and of the limits."""
        shunt = [_SHUNT_SOURCE] if _shunt_is_given(self.inputs) else []
        if value_of(self.figures, "LargestLungShunt") is not None:
            shunt.append(_LARGEST_SHUNT_SOURCE)
        decay = [self.spheres.source] if self.spheres.half_life in self.inputs else []
        return (*self.method.sources, *shunt, *decay, *limit_sources(self.limits))

    def as_text(self) -> str:
        """Everything, for reading."""
        activity = self.activity_gbq
        lines = [f"{self.spheres.nuclide} activity, {self.method.title}", NOTE, ""]
        lines.append("activity: " + ("none" if activity is None else _both_units(activity)))
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += ["", "Steps"]
        lines += [f"  {one.meaning}: {_shown(one)}    {one.formula}" for one in self.figures]
        if self.limits:
            lines += ["", "Limits and aims", *(f"  {one.sentence}" for one in self.limits)]
        lines += ["", "Inputs"]
        for one in self.inputs:
            quantity = one.quantity
            value = f"{one.value:.10g} {quantity.unit}".rstrip()
            lines.append(f"  {quantity.symbol} = {value}    {quantity.meaning} ({one.origin})")
        lines += [f"  {CHOICES[name].meaning}: {word}" for name, word in self.chosen.items()]
        if self.table:
            lines += ["", "Vials by the hour after calibration", *self.table.as_lines()]
        lines += ["", "Sources", *(f"  {source}" for source in self.sources)]
        return "\n".join(lines) + "\n"


def compute_activity(
    method_name: str,
    inputs: Inputs,
    segmentation_warnings: Sequence[str] = (),
    chosen: Choices | None = None,
    limits: Sequence[Limit] = tuple(LIMITS.values()),
    *,
    with_table: bool = False,
) -> Activity:
    """Compute by one of METHODS; ActivityRefused where an input is missing or makes no sense.

    segmentation_warnings: of the segmentation that the liver volume came from. with_table: of
    vials by the hour.
    """
    method = method_named(method_name)
    said = _checked(method_name, method, inputs, chosen or {})
    defaults = {one.quantity.name: one for one in method.defaults}
    spheres = SPHERES[said["Spheres"]]
    used = defaults | _brought(spheres, inputs, with_table=with_table) | inputs
    planned = method.figures(used)
    if value_of(planned, "PerfusedDoseGy") is not None:
        planned.append(largest_shunt(planned, used, lungs_may_get_gy(limits, inputs)))
    half_life_h = spheres.half_life.value
    calibrated = calibration_figures(value_of(planned, "ActivityGbq"), used, half_life_h)
    delivered = delivered_figures(planned, used, half_life_h)
    held = hold(limits, _doses(used, planned), said, inputs)
    held += _delivered_held(limits, delivered, said, inputs)
    warnings = [
        *segmentation_warnings,
        *volume_warnings(used["LiverMl"].value),
        *unusual(inputs.values()),
        *_shunt_warnings(inputs, planned, said),
        *_limit_warnings(held, said),
        *_part_warnings(inputs, said),
        *_delivered_warnings(delivered),
        *_vial_warnings(used, [*planned, *calibrated]),
    ]
    in_order = dict.fromkeys((*QUANTITIES, *used))
    return Activity(
        method_name,
        method,
        (*planned, *calibrated, *delivered),
        tuple(used[name] for name in in_order if name in used),
        said,
        tuple(held),
        tuple(dict.fromkeys(warnings)),
        vial_table(planned, used, spheres) if with_table else None,
    )


def _checked(method_name: str, method: Method, inputs: Inputs, chosen: Choices) -> Choices:
    """Refuse what is missing, unused or contradicts itself; return all that is chosen."""
    _refuse_unused(method_name, method, (*inputs, *chosen))
    missing = [name for name in method.needs if name not in inputs]
    if missing:
        raise ActivityRefused(f"the method {method_name} also needs: {named(missing)}")
    check_parts(inputs)
    return _choices(method_name, method, inputs, chosen)


def _brought(spheres: Spheres, inputs: Inputs, *, with_table: bool) -> Inputs:
    """What follows from the spheres; the half-life only where something decays."""
    decays = with_table or "HoursToTreatment" in inputs or "HoursToResidual" in inputs
    brought = (*spheres.brings, *([spheres.half_life] if decays else []))
    return {one.quantity.name: one for one in brought}


def taken_by(method: Method) -> tuple[str, ...]:
    """The names of all numbers that a method takes, its own constants among them."""
    defaults = (one.quantity.name for one in method.defaults)
    return tuple(dict.fromkeys((*method.needs, *method.optional, *defaults, *_OF_THE_VIAL)))


def _refuse_unused(method_name: str, method: Method, given: Sequence[str]) -> None:
    taken = (*taken_by(method), *method.chooses)
    unused = [name for name in given if name not in taken]
    if unused:
        takes = ", ".join(name for name in taken if name in QUANTITIES or name in CHOICES)
        raise ActivityRefused(
            f"the method {method_name} does not use: {', '.join(unused)}; it takes: {takes}"
        )
    # With a shunt that is assumed the lungs still decide on the largest one.
    assumed = [one.quantity.name for one in method.defaults]
    for name in given:
        other = (QUANTITIES.get(name) or CHOICES[name]).goes_with
        if other and other not in given and not (name in QUANTITIES and other in assumed):
            raise ActivityRefused(f"{name} changes nothing without {other}: give both or neither")


def _choices(method_name: str, method: Method, inputs: Inputs, chosen: Choices) -> Choices:
    """What was said, and what follows from the method and the volumes."""
    if not method.spheres and "Spheres" not in chosen:
        words = " or ".join(CHOICES["Spheres"].options)
        raise ActivityRefused(f"the method {method_name} also needs: Spheres, {words}")
    said = {"Spheres": method.spheres} | chosen
    if "BilirubinMgDl" in inputs and said["Spheres"] != "glass":
        raise ActivityRefused("BilirubinMgDl is for limits of glass: leave it out for others")
    if "Treatment" not in method.chooses:
        return said
    is_whole = "PerfusedMl" not in inputs or inputs["PerfusedMl"].value >= inputs["LiverMl"].value
    # The whole liver is both lobes.
    if is_whole and said.setdefault("Treatment", "bilobar") != "bilobar":
        raise ActivityRefused(
            f"Treatment {said['Treatment']} reaches a part of the liver: give its volume, less "
            "than the liver's, as PerfusedMl, or an outline of it"
        )
    return said


def _delivered_held(
    limits: Sequence[Limit], delivered: Sequence[Figure], chosen: Choices, inputs: Inputs
) -> list[Held]:
    """As the planned ones; what one compartment plans is the dose to what is perfused."""
    doses = delivered_doses(delivered)
    if "DoseGy" in inputs and "PerfusedDoseGy" in doses:
        doses["DoseGy"] = doses["PerfusedDoseGy"]
    return [replace(one, is_delivered=True) for one in hold(limits, doses, chosen, inputs)]


def _doses(used: Inputs, figures: Sequence[Figure]) -> dict[str, tuple[str, float]]:
    """What limits may be for: computed, or planned where the dose itself is given."""
    given = {name: (one.quantity.meaning, one.value) for name, one in used.items()}
    computed = {one.name: (one.meaning, one.value) for one in figures if one.value is not None}
    return given | computed


def _both_units(gbq: float) -> str:
    return f"{gbq:.2f} GBq ({1000 * gbq:.0f} MBq)"


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return "none"
    if figure.unit == "GBq":
        return _both_units(figure.value)
    return f"{figure.value:.6g} {figure.unit}".rstrip()


def volume_warnings(liver_ml: float) -> list[str]:
    """Say where a volume is unusual for a liver; of a segmentation's report too."""
    low, high = USUAL_LIVER_ML
    if low <= liver_ml <= high:
        return []
    return [
        f"the liver measures {liver_ml:.0f} mL, outside the usual {low:.0f}-{high:.0f} mL: "
        "check the outline"
    ]


def _shunt_is_given(inputs: Sequence[Input]) -> bool:
    return any(one.quantity.name == "LungShunt" and one.origin == GIVEN for one in inputs)


def _shunt_warnings(inputs: Inputs, figures: Sequence[Figure], chosen: Choices) -> list[str]:
    if "LungShunt" not in inputs:
        return ["the lung shunt was not given: the activity is not corrected for it"]
    shunt = inputs["LungShunt"].value
    values = {one.name: one.value for one in figures}
    warnings = []
    if shunt and "ShuntBy" not in chosen:
        warnings.append(
            "how the lung shunt was measured, ShuntBy, was not said: planar images and SPECT/CT "
            "differ by half"
        )
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
    return warnings


def _limit_warnings(held: Sequence[Held], chosen: Choices) -> list[str]:
    """Every limit that is passed; an aim only where it is certain to be for this treatment."""
    return [
        f"the {one.meaning}, {one.gy:.1f} Gy, should be {one.words}"
        for one in held
        if not one.kept
        and (one.limit.bound != AT_LEAST or ("Treatment" in chosen and not one.limit.holds_where))
    ]


def _part_warnings(inputs: Inputs, chosen: Choices) -> list[str]:
    """Limits follow from the treatment that is said, so it must fit the volume."""
    most = _MOST_OF_LIVER.get(chosen.get("Treatment", ""))
    if most is None or "PerfusedMl" not in inputs:
        return []
    share = inputs["PerfusedMl"].value / inputs["LiverMl"].value
    if share <= most:
        return []
    return [
        f"{100 * share:.0f} % of the liver is perfused, more than the usual {100 * most:g} % of a "
        f"{chosen['Treatment']} treatment: check both, for the limits follow from the treatment"
    ]


def _delivered_warnings(delivered: Sequence[Figure]) -> list[str]:
    share, left = (value_of(delivered, name) for name in ("DeliveredShare", "ResidualFound"))
    warnings = []
    low, high = _USUAL_DELIVERED
    if share is not None and not low <= share <= high:
        warnings.append(
            f"{100 * share:.0f} % of what was planned was delivered, outside the usual "
            f"{100 * low:g}-{100 * high:g} %: check PreparedGbq and LeftBehindGbq, or tell whoever "
            "planned it"
        )
    if left is not None and left > _MOST_LEFT_BEHIND:
        warnings.append(
            f"{100 * left:.0f} % of what was prepared was left behind, more than the usual "
            f"{100 * _MOST_LEFT_BEHIND:g} %: check LeftBehindGbq and HoursToResidual"
        )
    return warnings


def _vial_warnings(used: Inputs, figures: Sequence[Figure]) -> list[str]:
    activity, vial = value_of(figures, "ActivityGbq"), used.get("VialGbq")
    left = value_of(figures, "VialAtTreatmentGbq")
    if activity is None or vial is None:
        return []
    holds = vial.value if left is None else left
    if activity <= holds:
        return []
    when = "at calibration" if left is None else "at treatment"
    return [
        f"the activity, {activity:.2f} GBq, is more than one vial holds {when}, {holds:.2f} GBq "
        f"({vial.origin})"
    ]
