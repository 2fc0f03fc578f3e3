"""What is given: which nuclide, how fast it decays, in which vials it is on offer."""

from __future__ import annotations

from dataclasses import dataclass

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.inputs import CHOICES, QUANTITIES, Input, Quantity


@dataclass(frozen=True)
class Spheres:
    """brings: the inputs that follow from them. on_offer_gbq: at calibration; none: made to order.

    is_divisible: a part of a vial may be drawn. source: of the half-life.
    """

    nuclide: str
    brings: tuple[Input, ...]
    half_life: Input
    source: str
    on_offer_gbq: tuple[float, ...]
    is_divisible: bool


def _half_life(nuclide: str, hours: float) -> Input:
    quantity = Quantity("HalfLifeH", "T", "h", f"half-life of {nuclide}", 0, 100)
    return Input(quantity, hours, "constant: see Sources")


DOSE_CONSTANT = Quantity("GyKgPerGbq", "k", "Gy kg/GBq", "dose of 1 GBq decayed in 1 kg", 0, 100)
_Y90 = _half_life("Y-90", formulas.Y90_HALF_LIFE_H)
_Y90_SOURCE = (
    "half-life of Y-90: 64.1 h (World J Hepatol 2015;7:738, table 1); the EANM guideline 2022 "
    "prints 64.2 h"
)
_HO166_SOURCE = "half-life of Ho-166: 26.8 h (EANM guideline 2022, doi 10.1007/s00259-021-05600-z)"
_HOLMIUM_K = Input(
    DOSE_CONSTANT,
    formulas.HOLMIUM_GY_KG_PER_GBQ,
    "constant: 60 Gy for 3.78 GBq a kg, as published for Ho-166",
)
# The vials of both: World J Hepatol 2015;7:738, table 1.
_RESIN_VIAL = Input(
    QUANTITIES["VialGbq"], 3.0, "constant: one vial at calibration, by the maker's product page"
)
_GLASS_VIAL = Input(
    QUANTITIES["VialGbq"],
    20.0,
    "constant: the largest of six vials (3, 5, 7, 10, 15, 20 GBq) at calibration, by the US "
    "package insert",
)
_GLASS, _RESIN, _HOLMIUM = CHOICES["Spheres"].options

SPHERES: dict[str, Spheres] = {
    _GLASS: Spheres("Y-90", (_GLASS_VIAL,), _Y90, _Y90_SOURCE, (3, 5, 7, 10, 15, 20), False),
    _RESIN: Spheres("Y-90", (_RESIN_VIAL,), _Y90, _Y90_SOURCE, (3,), True),
    _HOLMIUM: Spheres(
        "Ho-166",
        (_HOLMIUM_K,),
        _half_life("Ho-166", formulas.HO166_HALF_LIFE_H),
        _HO166_SOURCE,
        (),
        False,
    ),
}
