"""What was given in the end: prepared less left behind, and the doses of it."""

from __future__ import annotations

from collections.abc import Sequence

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.figure import Figure, value_of
from orthanc_liver.sirt.inputs import ActivityRefused, Inputs, names

_DELIVERED = "Delivered"


def delivered_figures(
    planned: Sequence[Figure], inputs: Inputs, half_life_h: float
) -> list[Figure]:
    """Nothing where nothing was measured; planned: of the activity that was asked for."""
    if "PreparedGbq" not in inputs:
        return []
    prepared, later = inputs["PreparedGbq"].value, inputs["LeftBehindGbq"].value
    hours = inputs["HoursToResidual"].value if "HoursToResidual" in inputs else 0.0
    left = formulas.decayed(later, -hours, half_life_h)
    if left >= prepared:
        raise ActivityRefused(
            f"the {names(['LeftBehindGbq'])} is not less than the {names(['PreparedGbq'])} "
            "at the time of treatment: nothing was given"
        )
    back = "A_rest * 2^(t_R/T)" if hours else "A_rest"
    figures = [
        Figure("ResidualGbq", "left behind, at treatment", left, "GBq", f"A_rest,0 = {back}"),
        Figure("DeliveredGbq", "delivered", prepared - left, "GBq", "A_del = A_prep - A_rest,0"),
        Figure(
            "ResidualFound", "fraction left behind", left / prepared, "", "r = A_rest,0 / A_prep"
        ),
    ]
    return [*figures, *_doses(planned, inputs, prepared - left)]


def delivered_doses(figures: Sequence[Figure]) -> dict[str, tuple[str, float]]:
    """By the name of the planned one: what each is called, and Gy."""
    return {
        one.name.removeprefix(_DELIVERED): (one.meaning, one.value)
        for one in figures
        if one.name.startswith(_DELIVERED) and one.unit == "Gy" and one.value is not None
    }


def _doses(planned: Sequence[Figure], inputs: Inputs, delivered_gbq: float) -> list[Figure]:
    """Every dose goes with the activity, but for that of earlier treatments."""
    activity = value_of(planned, "ActivityGbq")
    kept, to_reach = (
        (1 - inputs["Residual"].value, "A * (1 - R)")
        if "Residual" in inputs
        else (
            1.0,
            "A",
        )
    )
    share = None if activity is None else delivered_gbq / (activity * kept)
    figures = [
        Figure(
            "DeliveredShare",
            "delivered, as a fraction of what was planned to be",
            share,
            "",
            f"q = A_del / ({to_reach})",
        )
    ]
    for one in planned:
        if one.unit != "Gy":
            continue
        value = None if one.value is None or share is None else one.value * share
        formula = f"{one.symbol} * q"
        if one.name == "LungDoseInAllGy":
            once, earlier = value_of(figures, "DeliveredLungDoseGy"), inputs["EarlierLungDoseGy"]
            value = None if once is None else once + earlier.value
            formula = "D_L,del + D_L,earlier"
        figures.append(
            Figure(
                f"{_DELIVERED}{one.name}",
                f"{one.meaning}, delivered",
                value,
                "Gy",
                f"{one.symbol},del = {formula}",
            )
        )
    return figures
