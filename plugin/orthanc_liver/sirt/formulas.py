"""The published formulas as plain functions: numbers in, numbers out, nothing checked.

Volumes in mL, masses in kg, doses in Gy, activities in GBq; shunt and residual are fractions.
"""

from __future__ import annotations

from math import log2

# Soft tissue, as these formulas are usually filled in.
TISSUE_G_PER_ML = 1.03
# The dose that 1 GBq gives to 1 kg, decaying there to the end: as the makers of glass round it,
# and as the partition model is usually written.
GLASS_GY_KG_PER_GBQ = 50.0
PARTITION_GY_KG_PER_GBQ = 49.67
# Of Ho-166, as its prescription is published: 60 Gy for 3.78 GBq in each kg.
HOLMIUM_GY_KG_PER_GBQ = 60 / 3.78
# Of Y-90, as WJH 2015 (table 1) and Vouche et al. give it; the EANM guideline 2022 prints 64.2 h.
Y90_HALF_LIFE_H = 64.1
# Of Ho-166, as the EANM guideline 2022 gives it.
HO166_HALF_LIFE_H = 26.8
# Above this share of the activity going to the lung, resin is not given.
LUNG_SHUNT_LIMIT = 0.20


def bsa_m2(height_m: float, weight_kg: float) -> float:
    """Body surface area after DuBois."""
    return float(0.20247 * height_m**0.725 * weight_kg**0.425)


def resin_gbq(bsa: float, tumour_ml: float, liver_ml: float) -> float:
    """Resin by BSA for the whole liver; the liver's volume includes the tumour's."""
    return (bsa - 0.2) + tumour_ml / liver_ml


def resin_lobar_gbq(bsa: float, lobe_tumour_ml: float, lobe_ml: float, liver_ml: float) -> float:
    """Resin by BSA for one lobe: the lobe's own activity, by the lobe's share of the liver."""
    return resin_gbq(bsa, lobe_tumour_ml, lobe_ml) * lobe_ml / liver_ml


def lung_shunt_factor(lung_shunt: float) -> float | None:
    """What resin activity is multiplied by; None: do not treat. An edge belongs to the lower."""
    if lung_shunt > LUNG_SHUNT_LIMIT:
        return None
    if lung_shunt >= 0.15:
        return 0.6
    return 0.8 if lung_shunt >= 0.10 else 1.0


def mass_kg(volume_ml: float) -> float:
    """The mass of liver tissue."""
    return volume_ml * TISSUE_G_PER_ML / 1000


def one_compartment_gbq(
    gy_kg_per_gbq: float, dose_gy: float, mass: float, lung_shunt: float, residual: float
) -> float:
    """What must be in the vial for a mean dose to the whole mass."""
    return dose_gy * mass / (gy_kg_per_gbq * (1 - lung_shunt) * (1 - residual))


def mean_dose_gy(
    gy_kg_per_gbq: float, activity_gbq: float, lung_shunt: float, mass: float
) -> float:
    """What an activity gives to all that it reaches, spread evenly; the shunted part is lost."""
    return gy_kg_per_gbq * activity_gbq * (1 - lung_shunt) / mass


def normal_liver_gy_per_gbq(
    gy_kg_per_gbq: float, lung_shunt: float, normal_kg: float, tumour_kg: float, ratio: float
) -> float:
    """Partition model, normal liver; the tumour's dose is this times ratio."""
    return gy_kg_per_gbq * (1 - lung_shunt) / (normal_kg + ratio * tumour_kg)


def lung_dose_gy(
    gy_kg_per_gbq: float, activity_gbq: float, lung_shunt: float, lung_kg: float
) -> float:
    """The lung's share of the activity, spread over the lung."""
    return gy_kg_per_gbq * activity_gbq * lung_shunt / lung_kg


def largest_lung_shunt(lung_gy: float, lung_kg: float, liver_gy: float, liver_kg: float) -> float:
    """With it the lungs get lung_gy where the liver gets liver_gy: both are k A f / M, f the
    shunt for the one and the rest for the other."""
    return lung_gy * lung_kg / (lung_gy * lung_kg + liver_gy * liver_kg)


def decayed(activity_gbq: float, hours: float, half_life_h: float) -> float:
    """What is left after so many hours; before, for negative ones."""
    return float(activity_gbq * 0.5 ** (hours / half_life_h))


def hours_until(left: float, half_life_h: float) -> float:
    """When so large a fraction is left; negative where it is more than all."""
    return half_life_h * log2(1 / left)
