"""The four ways to an activity: which inputs each needs, and its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.inputs import (
    QUANTITIES,
    ActivityRefused,
    Input,
    Inputs,
    Quantity,
    names,
)

_RESIN_SOURCE = (
    "resin formula: as two secondary sources give it; the manufacturer's own text was not at hand"
)
_SHUNT_SOURCE = (
    "lung shunt reduction, its edges from memory and two secondary sources: below 10 % none, from "
    "10 % x 0.8, from 15 % x 0.6, above 20 % do not treat"
)
_GLASS_SOURCE = "glass: one compartment (MIRD), the whole liver, 50 Gy kg/GBq"
_PARTITION_SOURCE = "partition model (MIRD): tumour, normal liver and lung, 49.67 Gy kg/GBq"
_LUNG_DOSE_SOURCE = "lung dose: 30 Gy a treatment is a widely used limit, by a secondary source"

_RESIN_VIAL = Input(
    QUANTITIES["VialGbq"], 3.0, "constant: one vial at calibration, by the maker's product page"
)
_GLASS_VIAL = Input(
    QUANTITIES["VialGbq"], 20.0, "constant: the largest of six vials, by the US package insert"
)
_LUNG_MASS = Input(QUANTITIES["LungMassKg"], 1.0, "assumed: usual for this formula")
_NO_SHUNT = Input(QUANTITIES["LungShunt"], 0.0, "assumed: not given")
_NO_RESIDUAL = Input(QUANTITIES["Residual"], 0.0, "assumed: not given")
_DENSITY = Input(
    Quantity("DensityGPerMl", "rho", "g/mL", "density of liver and tumour", 0, 2),
    formulas.TISSUE_G_PER_ML,
    "constant: soft tissue",
)
_DOSE_CONSTANT = Quantity("GyKgPerGbq", "k", "Gy kg/GBq", "dose of 1 GBq decayed in 1 kg", 0, 100)
_GLASS_K = Input(_DOSE_CONSTANT, formulas.GLASS_GY_KG_PER_GBQ, "constant: of the formula")
_PARTITION_K = Input(_DOSE_CONSTANT, formulas.PARTITION_GY_KG_PER_GBQ, "constant: of the formula")

# The partition model works backwards from one of these.
_PARTITION_AIMS = ("TumourDoseGy", "NormalDoseGy", "ActivityGbq")


@dataclass(frozen=True)
class Figure:
    """One computed number; value is None where there must not be one."""

    name: str
    meaning: str
    value: float | None
    unit: str
    formula: str


@dataclass(frozen=True)
class Method:
    """needs: refused without them; defaults: numbers it brings, some of which may be given."""

    title: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    defaults: tuple[Input, ...]
    figures: Callable[[Inputs], list[Figure]]
    sources: tuple[str, ...]


def method_named(name: object) -> Method:
    """One of METHODS; ActivityRefused for any other name."""
    if not isinstance(name, str) or name not in METHODS:
        raise ActivityRefused(f"the method must be one of: {', '.join(METHODS)}")
    return METHODS[name]


def _resin(inputs: Inputs) -> list[Figure]:
    bsa = _bsa_m2(inputs)
    before = formulas.resin_gbq(bsa, inputs["TumourMl"].value, inputs["LiverMl"].value)
    return _resin_figures(bsa, before, "(BSA - 0.2) + V_T / V_L", inputs)


def _resin_lobar(inputs: Inputs) -> list[Figure]:
    bsa = _bsa_m2(inputs)
    before = formulas.resin_lobar_gbq(
        bsa, inputs["LobeTumourMl"].value, inputs["LobeMl"].value, inputs["LiverMl"].value
    )
    formula = "[(BSA - 0.2) + V_T,lobe / V_lobe] * V_lobe / V_L"
    return _resin_figures(bsa, before, formula, inputs)


def _bsa_m2(inputs: Inputs) -> float:
    return formulas.bsa_m2(inputs["HeightM"].value, inputs["WeightKg"].value)


def _resin_figures(bsa: float, before: float, formula: str, inputs: Inputs) -> list[Figure]:
    shown = [
        Figure("BsaM2", "body surface area", bsa, "m2", "BSA = 0.20247 * H^0.725 * W^0.425"),
    ]
    if "LungShunt" not in inputs:
        return [*shown, _activity(before, f"A = {formula}")]
    factor = formulas.lung_shunt_factor(inputs["LungShunt"].value)
    step = "1 for LSF < 0.10; 0.8 from 0.10; 0.6 from 0.15; none above 0.20"
    return [
        *shown,
        Figure(
            "UnreducedGbq", "before the lung shunt reduction", before, "GBq", f"A_0 = {formula}"
        ),
        Figure("LungShuntFactor", "lung shunt reduction", factor, "", f"f = {step}"),
        _activity(None if factor is None else before * factor, "A = A_0 * f"),
    ]


def _glass(inputs: Inputs) -> list[Figure]:
    shunt, residual = inputs["LungShunt"], inputs["Residual"].value
    mass = formulas.mass_kg(inputs["LiverMl"].value)
    activity = formulas.glass_gbq(inputs["DoseGy"].value, mass, shunt.value, residual)
    lung = formulas.lung_dose_gy(
        inputs["GyKgPerGbq"].value,
        activity * (1 - residual),
        shunt.value,
        inputs["LungMassKg"].value,
    )
    return [
        Figure("MassKg", "mass of the liver", mass, "kg", "M = V_L * rho / 1000"),
        _activity(activity, "A = D * M / (k * (1 - LSF) * (1 - R))"),
        _lung_dose(None if shunt is _NO_SHUNT else lung, "k * A * (1 - R) * LSF / M_L"),
    ]


def _partition(inputs: Inputs) -> list[Figure]:
    aims = [name for name in _PARTITION_AIMS if name in inputs]
    if len(aims) != 1:
        raise ActivityRefused(
            f"the method partition needs exactly one of: {names(_PARTITION_AIMS)}"
        )
    if aims[0] == "TumourDoseGy" and inputs["TumourMl"].value == 0:
        raise ActivityRefused("a dose to the tumour needs a tumour volume above 0")
    aim = inputs[aims[0]].value
    shunt, ratio = inputs["LungShunt"].value, inputs["TumourToNormal"].value
    tumour = formulas.mass_kg(inputs["TumourMl"].value)
    normal = formulas.mass_kg(inputs["LiverMl"].value - inputs["TumourMl"].value)
    normal_gy_per_gbq = formulas.normal_liver_dose_gy(1.0, shunt, normal, tumour, ratio)
    activity, formula = {
        "ActivityGbq": (aim, "A as given"),
        "NormalDoseGy": (
            aim / normal_gy_per_gbq,
            "A = D_N * (M_N + TNR * M_T) / (k * (1 - LSF))",
        ),
        "TumourDoseGy": (
            aim / (normal_gy_per_gbq * ratio),
            "A = D_T * (M_N + TNR * M_T) / (TNR * k * (1 - LSF))",
        ),
    }[aims[0]]
    normal_gy = formulas.normal_liver_dose_gy(activity, shunt, normal, tumour, ratio)
    lung_kg = inputs["LungMassKg"].value
    lung = formulas.lung_dose_gy(inputs["GyKgPerGbq"].value, activity, shunt, lung_kg)
    tumour_gy = ratio * normal_gy if tumour else None
    by_normal = "D_N = k * A * (1 - LSF) / (M_N + TNR * M_T)"
    return [
        Figure("TumourKg", "mass of the tumour", tumour, "kg", "M_T = V_T * rho / 1000"),
        Figure(
            "NormalKg", "mass of the normal liver", normal, "kg", "M_N = (V_L - V_T) * rho / 1000"
        ),
        _activity(activity, formula),
        Figure("NormalDoseGy", "mean dose to the normal liver", normal_gy, "Gy", by_normal),
        Figure("TumourDoseGy", "mean dose to the tumour", tumour_gy, "Gy", "D_T = TNR * D_N"),
        _lung_dose(lung, "k * A * LSF / M_L"),
    ]


def _activity(value: float | None, formula: str) -> Figure:
    return Figure("ActivityGbq", "activity", value, "GBq", formula)


def _lung_dose(value: float | None, formula: str) -> Figure:
    return Figure("LungDoseGy", "mean dose to the lungs", value, "Gy", f"D_L = {formula}")


METHODS: dict[str, Method] = {
    "resin": Method(
        "resin by body surface area, whole liver",
        ("LiverMl", "TumourMl", "HeightM", "WeightKg"),
        ("LungShunt",),
        (_RESIN_VIAL,),
        _resin,
        (_RESIN_SOURCE, _SHUNT_SOURCE),
    ),
    "resin-lobar": Method(
        "resin by body surface area, one lobe",
        ("LiverMl", "LobeMl", "LobeTumourMl", "HeightM", "WeightKg"),
        ("LungShunt",),
        (_RESIN_VIAL,),
        _resin_lobar,
        (_RESIN_SOURCE, _SHUNT_SOURCE),
    ),
    "glass": Method(
        "glass, one compartment, whole liver",
        ("LiverMl", "DoseGy"),
        (),
        (_NO_SHUNT, _NO_RESIDUAL, _LUNG_MASS, _DENSITY, _GLASS_K, _GLASS_VIAL),
        _glass,
        (_GLASS_SOURCE, _LUNG_DOSE_SOURCE),
    ),
    "partition": Method(
        "partition model, whole liver",
        ("LiverMl", "TumourMl", "TumourToNormal", "LungShunt"),
        (*_PARTITION_AIMS, "VialGbq"),
        (_LUNG_MASS, _DENSITY, _PARTITION_K),
        _partition,
        (_PARTITION_SOURCE, _LUNG_DOSE_SOURCE),
    ),
}
