"""The five ways to an activity: which inputs each needs, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.figure import Figure, value_of
from orthanc_liver.sirt.inputs import QUANTITIES, ActivityRefused, Input, Inputs, Quantity, names
from orthanc_liver.sirt.spheres import DOSE_CONSTANT

_RESIN_SOURCE = (
    "resin formula: as two secondary sources give it; the manufacturer's own text was not at hand"
)
_SHUNT_SOURCE = (
    "lung shunt reduction, resin: 20, 40 and 100 % above a shunt of 10, 15 and 20 % (C. van "
    "Roekel, thesis, Utrecht 2021, p. 41; the first two also Grosser et al. 2015, PMID 26321017); "
    "here a shunt of just 10 or 15 % is reduced too"
)
_GLASS_SOURCE = (
    "glass: one compartment (MIRD), 50 Gy kg/GBq; it cannot predict a tumour's dose (95 % "
    "interval beyond +-177 Gy: Mikell 2016, PMC5085875)"
)
_PARTITION_SOURCE = (
    "partition model (MIRD): tumour, normal liver and lung, 49.67 Gy kg/GBq of Y-90; the mean dose "
    "to the whole normal liver is what to plan on unless the treatment is super-selective (Chiesa "
    "et al. 2021, doi 10.1186/s40658-021-00394-3)"
)
_METHODS_SOURCE = (
    "AAPM MPPG 14.a (Busse et al. 2023, e14157) names three methods: body surface area, one "
    "compartment, partition"
)
_LUNG_MASS_SOURCE = (
    "mass of the lungs: 1 kg may be too much or too little; CT shows it (Kao 2014, doi "
    "10.1186/s13550-014-0033-7)"
)
_HOLMIUM_SOURCE = (
    "holmium: one compartment, 60 Gy to what is perfused for 3.78 GBq of Ho-166 a kg (C. van "
    "Roekel, thesis, Utrecht 2021, p. 30)"
)

_LUNG_MASS = Input(QUANTITIES["LungMassKg"], 1.0, "assumed: usual for this formula")
_NO_SHUNT = Input(QUANTITIES["LungShunt"], 0.0, "assumed: not given")
_NO_RESIDUAL = Input(QUANTITIES["Residual"], 0.0, "assumed: not given")
_DENSITY = Input(
    Quantity("DensityGPerMl", "rho", "g/mL", "density of liver and tumour", 0, 2),
    formulas.TISSUE_G_PER_ML,
    "constant: soft tissue",
)
_GLASS_K = Input(DOSE_CONSTANT, formulas.GLASS_GY_KG_PER_GBQ, "constant: of the formula")
_HOLMIUM_DOSE = Input(QUANTITIES["DoseGy"], 60.0, "assumed: usual of Ho-166, see Sources")
_PARTITION_K = Input(DOSE_CONSTANT, formulas.PARTITION_GY_KG_PER_GBQ, "constant: of the formula")

# Masses that are perfused: by one compartment the first, by partition both of the others.
_PERFUSED_KG = ("MassKg", "TumourKg", "NormalKg")
# The partition model works backwards from one of these.
_PARTITION_AIMS = ("TumourDoseGy", "NormalDoseGy", "ActivityGbq")


@dataclass(frozen=True)
class Method:
    """needs: refused without them; defaults: numbers it brings, some of which may be given.

    chooses: of CHOICES, what may be said; spheres: which they are, "" where Spheres must say it.
    """

    title: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    defaults: tuple[Input, ...]
    figures: Callable[[Inputs], list[Figure]]
    sources: tuple[str, ...]
    spheres: str = ""
    chooses: tuple[str, ...] = ()


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
    activity = None if factor is None else before * factor
    return [
        *shown,
        Figure(
            "UnreducedGbq", "before the lung shunt reduction", before, "GBq", f"A_0 = {formula}"
        ),
        Figure("LungShuntFactor", "lung shunt reduction", factor, "", f"f = {step}"),
        _activity(activity, "A = A_0 * f"),
        *_lung_doses(activity, "k * A * LSF / M_L", inputs),
    ]


def _one_compartment(inputs: Inputs) -> list[Figure]:
    shunt, residual = inputs["LungShunt"].value, inputs["Residual"].value
    treated = "V_P" if "PerfusedMl" in inputs else "V_L"
    mass = formulas.mass_kg((inputs.get("PerfusedMl") or inputs["LiverMl"]).value)
    k, dose = inputs["GyKgPerGbq"].value, inputs["DoseGy"].value
    activity = formulas.one_compartment_gbq(k, dose, mass, shunt, residual)
    reaches = activity * (1 - residual)
    liver = formulas.mass_kg(inputs["LiverMl"].value)
    liver_gy = formulas.mean_dose_gy(k, reaches, shunt, liver)
    perfused_gy = formulas.mean_dose_gy(k, reaches, shunt, mass)
    by_mass = "k * A * (1 - LSF) * (1 - R)"
    return [
        _mass("MassKg", "perfused volume", mass, f"M = {treated} * rho / 1000"),
        _activity(activity, "A = D * M / (k * (1 - LSF) * (1 - R))"),
        _perfused_dose(perfused_gy, f"{by_mass} / M"),
        _dose("LiverDoseGy", "whole liver", liver_gy, f"D_whole = {by_mass} / (V_L * rho / 1000)"),
        *_lung_doses(
            None if inputs["LungShunt"] is _NO_SHUNT else reaches,
            "k * A * (1 - R) * LSF / M_L",
            inputs,
        ),
    ]


def _partition(inputs: Inputs) -> list[Figure]:
    whole, in_it = _partition_volumes(inputs)
    shunt, ratio = inputs["LungShunt"].value, inputs["TumourToNormal"].value
    k = inputs["GyKgPerGbq"].value
    tumour, normal = (formulas.mass_kg(ml) for ml in (in_it.value, whole.value - in_it.value))
    all_normal = formulas.mass_kg(inputs["LiverMl"].value - inputs["TumourMl"].value)
    normal_gy_per_gbq = formulas.normal_liver_gy_per_gbq(k, shunt, normal, tumour, ratio)
    activity, formula = _partition_activity(inputs, tumour, normal_gy_per_gbq, ratio)
    normal_gy = normal_gy_per_gbq * activity
    perfused_gy = formulas.mean_dose_gy(k, activity, shunt, normal + tumour)
    v_p, v_t = whole.quantity.symbol, in_it.quantity.symbol
    perfused_normal = "normal liver that is perfused"
    return [
        _mass("TumourKg", "tumour", tumour, f"M_T = {v_t} * rho / 1000"),
        _mass("NormalKg", perfused_normal, normal, f"M_N = ({v_p} - {v_t}) * rho / 1000"),
        _mass("WholeNormalKg", "whole normal liver", all_normal, "M_WN = (V_L - V_T) * rho / 1000"),
        _activity(activity, formula),
        _dose(
            "NormalDoseGy",
            perfused_normal,
            normal_gy,
            "D_N = k * A * (1 - LSF) / (M_N + TNR * M_T)",
        ),
        _dose(
            "WholeNormalDoseGy",
            "whole normal liver",
            normal_gy * normal / all_normal,
            "D_WN = D_N * M_N / M_WN",
        ),
        _dose("TumourDoseGy", "tumour", ratio * normal_gy if tumour else None, "D_T = TNR * D_N"),
        _perfused_dose(perfused_gy, "k * A * (1 - LSF) / (M_N + M_T)"),
        *_lung_doses(activity, "k * A * LSF / M_L", inputs),
    ]


def _partition_volumes(inputs: Inputs) -> tuple[Input, Input]:
    """What the spheres reach, and the tumour in it."""
    if "PerfusedMl" not in inputs:
        return inputs["LiverMl"], inputs["TumourMl"]
    if "PerfusedTumourMl" not in inputs:
        raise ActivityRefused(
            f"with a perfused volume the method partition also needs: {names(['PerfusedTumourMl'])}"
        )
    return inputs["PerfusedMl"], inputs["PerfusedTumourMl"]


def _partition_activity(
    inputs: Inputs, tumour_kg: float, normal_gy_per_gbq: float, ratio: float
) -> tuple[float, str]:
    aims = [name for name in _PARTITION_AIMS if name in inputs]
    if len(aims) != 1:
        raise ActivityRefused(
            f"the method partition needs exactly one of: {names(_PARTITION_AIMS)}"
        )
    if aims[0] == "TumourDoseGy" and tumour_kg == 0:
        raise ActivityRefused("a dose to the tumour needs a tumour volume above 0")
    aim = inputs[aims[0]].value
    return {
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


def largest_shunt(figures: Sequence[Figure], inputs: Inputs, lungs_may_get_gy: float) -> Figure:
    """What the limit of the lungs' dose allows beside the planned dose to what is perfused."""
    perfused_gy = value_of(figures, "PerfusedDoseGy") or 0.0
    masses = [one for one in figures if one.unit == "kg" and one.name in _PERFUSED_KG]
    perfused_kg = sum(one.value or 0.0 for one in masses)
    lung_kg = inputs["LungMassKg"].value
    share = formulas.largest_lung_shunt(lungs_may_get_gy, lung_kg, perfused_gy, perfused_kg)
    mass = " + ".join(one.symbol for one in masses)
    lungs, liver = f"{lungs_may_get_gy:g} * M_L", f"D_P * ({mass})"
    return Figure(
        "LargestLungShunt",
        f"largest lung shunt with which this dose leaves the lungs within {lungs_may_get_gy:g} Gy",
        share,
        "",
        f"LSF_max = {lungs} / ({lungs} + {liver})",
    )


def _activity(value: float | None, formula: str) -> Figure:
    return Figure("ActivityGbq", "activity", value, "GBq", formula)


def _mass(name: str, of_what: str, value: float, formula: str) -> Figure:
    return Figure(name, f"mass of the {of_what}", value, "kg", formula)


def _dose(name: str, to_what: str, value: float | None, formula: str) -> Figure:
    return Figure(name, f"mean dose to the {to_what}", value, "Gy", formula)


def _perfused_dose(value: float, formula: str) -> Figure:
    return _dose("PerfusedDoseGy", "perfused volume", value, f"D_P = {formula}")


def _lung_doses(activity: float | None, formula: str, inputs: Inputs) -> list[Figure]:
    """activity: what reaches the patient; None: unknown, or none."""
    k, mass = inputs["GyKgPerGbq"].value, inputs["LungMassKg"].value
    once = None
    if activity is not None:
        once = formulas.lung_dose_gy(k, activity, inputs["LungShunt"].value, mass)
    doses = [_dose("LungDoseGy", "lungs", once, f"D_L = {formula}")]
    if "EarlierLungDoseGy" in inputs:
        in_all = None if once is None else once + inputs["EarlierLungDoseGy"].value
        to_what = "lungs, earlier treatments included"
        doses.append(_dose("LungDoseInAllGy", to_what, in_all, "D_L,all = D_L + D_L,earlier"))
    return doses


_SHUNT_BY = "ShuntBy"
_LUNG = ("LungShunt", "EarlierLungDoseGy")
_RESIN_SOURCES = (_METHODS_SOURCE, _RESIN_SOURCE, _SHUNT_SOURCE, _LUNG_MASS_SOURCE)

METHODS: dict[str, Method] = {
    "resin": Method(
        "resin by body surface area, whole liver",
        ("LiverMl", "TumourMl", "HeightM", "WeightKg"),
        _LUNG,
        (_LUNG_MASS, _PARTITION_K),
        _resin,
        _RESIN_SOURCES,
        "resin",
        (_SHUNT_BY,),
    ),
    "resin-lobar": Method(
        "resin by body surface area, one lobe",
        ("LiverMl", "LobeMl", "LobeTumourMl", "HeightM", "WeightKg"),
        _LUNG,
        (_LUNG_MASS, _PARTITION_K),
        _resin_lobar,
        _RESIN_SOURCES,
        "resin",
        (_SHUNT_BY,),
    ),
    "glass": Method(
        "glass, one compartment",
        ("LiverMl", "DoseGy"),
        ("PerfusedMl", "EarlierLungDoseGy"),
        (_NO_SHUNT, _NO_RESIDUAL, _LUNG_MASS, _DENSITY, _GLASS_K),
        _one_compartment,
        (_METHODS_SOURCE, _GLASS_SOURCE, _LUNG_MASS_SOURCE),
        "glass",
        (_SHUNT_BY, "Treatment"),
    ),
    "holmium": Method(
        "holmium, one compartment",
        ("LiverMl",),
        ("PerfusedMl", "EarlierLungDoseGy"),
        (_HOLMIUM_DOSE, _NO_SHUNT, _NO_RESIDUAL, _LUNG_MASS, _DENSITY),
        _one_compartment,
        (_HOLMIUM_SOURCE, _LUNG_MASS_SOURCE),
        "holmium",
        (_SHUNT_BY,),
    ),
    "partition": Method(
        "partition model",
        ("LiverMl", "TumourMl", "TumourToNormal", "LungShunt"),
        (*_PARTITION_AIMS, "PerfusedMl", "PerfusedTumourMl", "EarlierLungDoseGy", "BilirubinMgDl"),
        (_LUNG_MASS, _DENSITY, _PARTITION_K),
        _partition,
        (_METHODS_SOURCE, _PARTITION_SOURCE, _LUNG_MASS_SOURCE),
        "",
        ("Spheres", _SHUNT_BY, "Treatment"),
    ),
}
