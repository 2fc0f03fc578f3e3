"""Vials by the hour after calibration: what each holds, and what it would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.figure import Figure, value_of
from orthanc_liver.sirt.inputs import ActivityRefused, Inputs
from orthanc_liver.sirt.spheres import Spheres

# Two weeks: the longest that is usual between calibration and treatment.
_LAST_H = 336
# Of earlier treatments too, so it does not go with the activity.
_NOT_OF_THE_VIAL = "LungDoseInAllGy"


@dataclass(frozen=True)
class Given:
    """One vial at one hour. given_gbq: what the patient gets of it; doses_gy: by their names.

    is_wanted: the hour next to that at which this vial gives what is planned, if it ever does.
    """

    hours: int
    holds_gbq: float
    given_gbq: float
    doses_gy: dict[str, float]
    is_wanted: bool


@dataclass(frozen=True)
class VialTable:
    """columns: by the vial's activity at calibration, the same hours in each from 0."""

    columns: dict[float, tuple[Given, ...]]
    doses: tuple[Figure, ...]
    wanted_gbq: float
    treated_at_h: float | None
    is_divisible: bool

    def as_json(self) -> list[dict[str, Any]]:
        """One object a vial, with every hour."""
        return [
            {
                "VialGbq": vial,
                "Hours": [
                    {
                        "Hours": one.hours,
                        "HoldsGbq": one.holds_gbq,
                        "GivenGbq": one.given_gbq,
                        "Doses": one.doses_gy,
                        "Wanted": one.is_wanted,
                    }
                    for one in column
                ],
            }
            for vial, column in self.columns.items()
        ]

    def as_lines(self) -> list[str]:
        """For reading: a line an hour, a column a vial."""
        told = [
            f"{one.meaning} {one.value / self.wanted_gbq:.4g} Gy"
            for one in self.doses
            if one.value is not None
        ]
        lines = [f"  one GBq gives: {', '.join(told)}"] if told else []
        # Whether a vial is drawn from or given whole decides what is to be known of it.
        main = None if self.is_divisible else self.doses[0]
        what = f"{main.meaning}, Gy" if main else "what to draw of it, %"
        lines.append(f"  each column: what the vial holds, GBq; {what}")
        lines.append("  *: the hour of the activity that is wanted; >: the hour of treatment")
        lines.append("  hours" + "".join(f"{vial:>8g} GBq  " for vial in self.columns))
        for row in zip(*self.columns.values(), strict=True):
            cells = "".join(self._cell(one, main) for one in row)
            lines.append(f"{self._mark(row[0].hours)}{row[0].hours:>6}{cells}")
        return [line.rstrip() for line in lines]

    def _cell(self, one: Given, main: Figure | None) -> str:
        of_it = one.doses_gy[main.name] if main else 100 * one.given_gbq / one.holds_gbq
        return f"{one.holds_gbq:>8.2f}{of_it:>5.0f}{'*' if one.is_wanted else ' '}"

    def _mark(self, hours: int) -> str:
        is_then = self.treated_at_h is not None and round(self.treated_at_h) == hours
        return ">" if is_then else " "


def vial_table(figures: Sequence[Figure], inputs: Inputs, spheres: Spheres) -> VialTable | None:
    """For the vial that is given, else for each on offer; None where there is no activity.

    Raises ActivityRefused where no vial is given nor on offer.
    """
    wanted = value_of(figures, "ActivityGbq")
    vial = inputs.get("VialGbq")
    sizes = spheres.on_offer_gbq
    if vial is not None and vial not in spheres.brings:
        sizes = (vial.value,)
    if not sizes:
        raise ActivityRefused("these spheres are made to order: the table of vials needs VialGbq")
    if wanted is None:
        return None
    half_life_h = spheres.half_life.value
    treated = inputs.get("HoursToTreatment")
    until = formulas.hours_until(wanted / max(sizes), half_life_h)
    last = min(_LAST_H, ceil(max(0.0, until, treated.value if treated else 0.0)))
    doses = tuple(one for one in figures if one.unit == "Gy" and one.name != _NOT_OF_THE_VIAL)
    return VialTable(
        {size: _column(size, last, wanted, doses, spheres) for size in sizes},
        doses,
        wanted,
        treated.value if treated else None,
        spheres.is_divisible,
    )


def _column(
    size: float, last: int, wanted: float, doses: Sequence[Figure], spheres: Spheres
) -> tuple[Given, ...]:
    holds = [formulas.decayed(size, hour, spheres.half_life.value) for hour in range(last + 1)]
    given = [min(one, wanted) if spheres.is_divisible else one for one in holds]
    until = formulas.hours_until(wanted / size, spheres.half_life.value)
    # Of a divisible one every earlier hour will do: the last that does is marked.
    nearest = floor(until) if spheres.is_divisible else round(until)
    return tuple(
        Given(
            hour,
            holds[hour],
            given[hour],
            {one.name: one.value * given[hour] / wanted for one in doses if one.value is not None},
            hour == nearest,
        )
        for hour in range(last + 1)
    )


def calibration_figures(activity: float | None, inputs: Inputs, half_life_h: float) -> list[Figure]:
    """What activity and vial are at the other time, where the hours between are known."""
    if "HoursToTreatment" not in inputs:
        return []
    hours = inputs["HoursToTreatment"].value
    then = None if activity is None else formulas.decayed(activity, -hours, half_life_h)
    figures = [
        Figure(
            "CalibratedGbq", "the same activity at calibration", then, "GBq", "A_cal = A * 2^(t/T)"
        )
    ]
    if "VialGbq" in inputs:
        left = formulas.decayed(inputs["VialGbq"].value, hours, half_life_h)
        formula = "A_left = A_vial * 2^(-t/T)"
        figures.append(Figure("VialAtTreatmentGbq", "the vial at treatment", left, "GBq", formula))
    return figures
