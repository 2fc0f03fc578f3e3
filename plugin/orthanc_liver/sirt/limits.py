"""What a planned dose is held against: published limits and aims, each with its source.

A limit that is passed is a warning, never a refusal. A site sets its own figures by name, with
the setting DoseLimitsGy or --dose-limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from orthanc_liver.sirt.inputs import CHOICES, ActivityRefused, Choices, Inputs

_EANM, _LUNG = "EANM guideline 2022", "van Roekel 2021, AAPM MPPG 14.a"
_PRESCRIBED = "van Roekel 2021, p. 30"
SOURCES = {
    _EANM: f"{_EANM}: Weber et al., Eur J Nucl Med Mol Imaging 49:1682-1699, doi "
    "10.1007/s00259-021-05600-z, tables 2 and 3",
    _LUNG: "lung dose, 30 Gy in one treatment and 50 Gy over all: C. van Roekel, thesis, Utrecht "
    "2021, p. 41; AAPM MPPG 14.a (2023, e14157)",
    _PRESCRIBED: "Ho-166, 60 Gy to what is perfused: C. van Roekel, thesis, Utrecht 2021, p. 30",
}

AT_MOST, AT_LEAST = "at most", "at least"
_WHOLE = "WholeNormalDoseGy"
_OF_THE_LUNGS = ("LungOnce", "LungInAll")

_GLASS, _RESIN, _HOLMIUM = CHOICES["Spheres"].options
_SEGMENT, _LOBECTOMY, _UNILOBAR, _BILOBAR = CHOICES["Treatment"].options
_ONE_LOBE, _LOBES = (_LOBECTOMY, _UNILOBAR), (_UNILOBAR, _BILOBAR)
_NOT_SEGMENT = (_LOBECTOMY, _UNILOBAR, _BILOBAR)

BILIRUBIN_EDGE_MG_DL = 1.1
_HIGH = f"bilirubin is above {BILIRUBIN_EDGE_MG_DL:g} mg/dL"
_LOW = f"bilirubin is not above {BILIRUBIN_EDGE_MG_DL:g} mg/dL"
_COHORT = "found in treatments of one lobe without earlier ones, mostly in cirrhosis"
_RESERVE, _LOW_RESERVE = "the hepatic reserve is above 30 %", "the hepatic reserve is below 30 %"
_PRETREATED = "the liver was treated before or its function is poor"
_HCC = "the tumour is a hepatocellular carcinoma"
_ICC = "the tumour is an intrahepatic cholangiocarcinoma"
_MCRC = "the tumour is a metastasis of colorectal cancer"
_MORE = "250-300 Gy and more appear too, by evidence of level 3"
_TO_120 = "100-120 Gy"
_ABOVE_150 = "more than 150 Gy only where the whole liver gets less than 150 Gy"


@dataclass(frozen=True)
class Limit:
    """One figure, an aim where it is AT_LEAST. dose: the input or computed figure it is for.

    spheres: "" for both; treatments: () for all; holds_where: what the inputs need not tell.
    """

    name: str
    dose: str
    bound: str
    gy: float
    spheres: str = ""
    treatments: tuple[str, ...] = ()
    holds_where: str = ""
    remark: str = ""
    source: str = _EANM


# DoseGy is planned by one compartment alone, for which the guideline has figures of its own.
LIMITS: dict[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit(_OF_THE_LUNGS[0], "LungDoseGy", AT_MOST, 30, source=_LUNG),
        Limit(_OF_THE_LUNGS[1], "LungDoseInAllGy", AT_MOST, 50, source=_LUNG),
        Limit("GlassSegment", "PerfusedDoseGy", AT_LEAST, 400, _GLASS, (_SEGMENT,)),
        Limit("GlassLobectomy", "DoseGy", AT_LEAST, 140, _GLASS, (_LOBECTOMY,), remark=_ABOVE_150),
        Limit("GlassLobectomyLiver", "LiverDoseGy", AT_MOST, 150, _GLASS, (_LOBECTOMY,)),
        Limit("GlassLobesLeast", "DoseGy", AT_LEAST, 80, _GLASS, _LOBES),
        Limit("GlassLobesMost", "DoseGy", AT_MOST, 150, _GLASS, _LOBES),
        Limit("GlassHypertrophy", "NormalDoseGy", AT_LEAST, 88, _GLASS, (_LOBECTOMY,)),
        Limit("GlassNormal", "NormalDoseGy", AT_MOST, 120, _GLASS, (_UNILOBAR,), _LOW_RESERVE),
        Limit("GlassWholeNormal", _WHOLE, AT_MOST, 75, _GLASS, _ONE_LOBE, remark="range 50-90 Gy"),
        Limit("GlassBilirubinHigh", _WHOLE, AT_MOST, 50, _GLASS, _NOT_SEGMENT, _HIGH, _COHORT),
        Limit("GlassBilirubinLow", _WHOLE, AT_MOST, 90, _GLASS, _NOT_SEGMENT, _LOW, _COHORT),
        Limit("GlassHcc", "TumourDoseGy", AT_LEAST, 205, _GLASS, _NOT_SEGMENT, _HCC, _MORE),
        Limit("GlassIcc", "TumourDoseGy", AT_LEAST, 260, _GLASS, _ONE_LOBE, _ICC),
        Limit("GlassMcrc", "TumourDoseGy", AT_LEAST, 189, _GLASS, _ONE_LOBE, _MCRC),
        Limit("ResinSegment", "PerfusedDoseGy", AT_LEAST, 150, _RESIN, (_SEGMENT,)),
        Limit("ResinHypertrophy", "NormalDoseGy", AT_LEAST, 70, _RESIN, (_LOBECTOMY,), _RESERVE),
        Limit("ResinNormal", "NormalDoseGy", AT_MOST, 40, _RESIN, _LOBES),
        Limit("ResinPretreated", "NormalDoseGy", AT_MOST, 30, _RESIN, (_BILOBAR,), _PRETREATED),
        Limit("HolmiumPerfused", "PerfusedDoseGy", AT_MOST, 60, _HOLMIUM, source=_PRESCRIBED),
        Limit("ResinTumour", "TumourDoseGy", AT_LEAST, 100, _RESIN, _NOT_SEGMENT, remark=_TO_120),
    )
}


@dataclass(frozen=True)
class Held:
    """One dose held against one limit. is_delivered: not the planned one."""

    limit: Limit
    meaning: str
    gy: float
    is_delivered: bool = False

    @property
    def kept(self) -> bool:
        """Not above what is the most, not below what is the least."""
        # A dose planned to be the limit itself comes back with the last digits of a computation.
        beyond = self.gy - self.limit.gy if self.limit.bound == AT_MOST else self.limit.gy - self.gy
        return beyond <= 1e-9 * self.limit.gy

    @property
    def holds_for(self) -> str:
        """Which spheres, treatments and patients the figure is for, and what else is to know."""
        where = [f"where {self.limit.holds_where}"] if self.limit.holds_where else []
        treatments = " or ".join(self.limit.treatments)
        parts = [self.limit.spheres, treatments, *where, self.limit.remark]
        return ", ".join(part for part in parts if part)

    @property
    def words(self) -> str:
        """The figure with all that belongs to it."""
        beside = "; ".join(part for part in (self.holds_for, self.limit.source) if part)
        return f"{self.limit.bound} {self.limit.gy:g} Gy ({beside})"

    @property
    def sentence(self) -> str:
        """Whether it is kept, and with what figures."""
        kept = "kept" if self.kept else "not kept"
        return f"{self.meaning}: {self.gy:.1f} Gy, {kept}: {self.words}"

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's own types."""
        return {
            "Name": self.limit.name,
            "Dose": self.limit.dose,
            "Meaning": self.meaning,
            "ValueGy": self.gy,
            "Bound": self.limit.bound,
            "LimitGy": self.limit.gy,
            "HoldsFor": self.holds_for,
            "Source": self.limit.source,
            "Delivered": self.is_delivered,
            "Kept": self.kept,
            "Sentence": self.sentence,
        }


def wrong_limits(own_gy: Mapping[str, Any]) -> str:
    """What is wrong with a site's own figures, by name; "" where nothing is."""
    for name, gy in own_gy.items():
        if name not in LIMITS:
            near = get_close_matches(name, LIMITS, n=1, cutoff=0.4)
            asked = f"; did you mean {near[0]}?" if near else ""
            return f"{name!r} is no name of a limit{asked}"
        if isinstance(gy, bool) or not isinstance(gy, int | float) or not 0 < gy <= 5000:
            return f"{name}: must be a number of Gy above 0, at most 5000"
    return ""


def limits_of_site(own_gy: Mapping[str, float], origin: str) -> tuple[Limit, ...]:
    """LIMITS with a site's own figures, by name, in the place of the published ones.

    origin: where they were set. Raises ActivityRefused.
    """
    if wrong := wrong_limits(own_gy):
        raise ActivityRefused(f"{origin}: {wrong}")
    return tuple(
        replace(
            limit,
            gy=own_gy[limit.name],
            source=f"{origin}; {limit.source}: {limit.gy:g} Gy",
        )
        if limit.name in own_gy
        else limit
        for limit in LIMITS.values()
    )


def sources(held: Sequence[Held]) -> list[str]:
    """The full names of the published ones, each once."""
    return [
        full for short, full in SOURCES.items() if any(short in one.limit.source for one in held)
    ]


def hold(
    limits: Sequence[Limit], doses: Mapping[str, tuple[str, float]], chosen: Choices, inputs: Inputs
) -> list[Held]:
    """Every dose against every limit that may hold for such a case, as far as the inputs tell.

    doses: what each is called in a sentence, and Gy.
    """
    return [
        Held(limit, *doses[limit.dose])
        for limit in limits
        if limit.dose in doses and _may_hold(limit, chosen, inputs)
    ]


def lungs_may_get_gy(limits: Sequence[Limit], inputs: Inputs) -> float:
    """In one treatment, and with what earlier ones gave them."""
    once, in_all = (next(one.gy for one in limits if one.name == name) for name in _OF_THE_LUNGS)
    earlier = inputs["EarlierLungDoseGy"].value if "EarlierLungDoseGy" in inputs else 0.0
    return max(0.0, min(once, in_all - earlier))


def _may_hold(limit: Limit, chosen: Choices, inputs: Inputs) -> bool:
    if limit.spheres not in ("", chosen["Spheres"]):
        return False
    if limit.treatments and chosen.get("Treatment", limit.treatments[0]) not in limit.treatments:
        return False
    if "BilirubinMgDl" not in inputs or limit.holds_where not in (_HIGH, _LOW):
        return True
    high = inputs["BilirubinMgDl"].value > BILIRUBIN_EDGE_MG_DL
    return limit.holds_where == (_HIGH if high else _LOW)
