"""The activity of glass that goes with a volume alone, by which contours are compared."""

from __future__ import annotations

from orthanc_liver.sirt import formulas

GLASS_DOSE_GY = 120.0


def glass_mbq(liver_ml: float) -> float:
    """One compartment at 120 Gy, without shunt and residual."""
    k, mass = formulas.GLASS_GY_KG_PER_GBQ, formulas.mass_kg(liver_ml)
    return 1000 * formulas.one_compartment_gbq(k, GLASS_DOSE_GY, mass, 0.0, 0.0)
