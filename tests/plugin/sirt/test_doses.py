"""Doses against published limits, perfused volumes, decay and unusual numbers.

Expected figures are computed from CLINICAL.md's formulas apart from the code, as beside each.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.activity import Activity, compute_activity
from orthanc_liver.sirt.inputs import QUANTITIES, read_inputs
from orthanc_liver.sirt.limits import LIMITS, SOURCES, limits_of_site
from orthanc_liver.sirt.methods import METHODS
from tests.plugin.sirt.test_sirt import computed, figure, gbq, said

LOBE: dict[str, Any] = {"PerfusedMl": 1100, "PerfusedTumourMl": 100}


def kept(result: Activity) -> dict[str, bool]:
    return {one.limit.name: one.kept for one in result.limits}


def test_glass_for_a_lobe_is_planned_on_the_lobe() -> None:
    # 120 Gy * 0.7 L * 1.03 kg/L / 50; spread over 1.8 L it is 700 / 1800 of 120 Gy
    result = computed("glass", PerfusedMl=700)
    assert result.activity_gbq == pytest.approx(1.7304)
    assert figure(result, "PerfusedDoseGy") == pytest.approx(120)
    assert figure(result, "LiverDoseGy") == pytest.approx(46.6666666667)


def test_partition_of_a_lobe_by_hand() -> None:
    # M_T 0.103, M_N 1.03, M_WN 1.6995 kg; D_N = 49.67 * 2 * 0.95 / (1.03 + 4 * 0.103)
    result = computed("partition", **LOBE)
    assert figure(result, "NormalDoseGy") == pytest.approx(65.4459084605, rel=1e-9)
    assert figure(result, "TumourDoseGy") == pytest.approx(261.783633842, rel=1e-9)
    assert figure(result, "WholeNormalDoseGy") == pytest.approx(39.6641869458, rel=1e-9)
    assert figure(result, "PerfusedDoseGy") == pytest.approx(83.2947925861, rel=1e-9)
    for aim, dose in (("NormalDoseGy", 65.4459084605), ("TumourDoseGy", 261.783633842)):
        assert gbq("partition", **LOBE, ActivityGbq=None, **{aim: dose}) == pytest.approx(2)


def test_what_is_perfused_may_be_the_whole_liver() -> None:
    whole = computed("partition", PerfusedMl=1800, PerfusedTumourMl=150)
    for name in ("NormalDoseGy", "WholeNormalDoseGy"):
        assert figure(whole, name) == pytest.approx(40.7219, abs=5e-5)


def test_glass_of_400_gy_to_the_whole_liver_is_told() -> None:
    result = computed("glass", DoseGy=400)
    assert said(
        result,
        "the planned mean dose to the perfused volume, 400.0 Gy, should be at most 150 Gy "
        "(glass, unilobar or bilobar; EANM guideline 2022)",
    )
    assert not said(computed("glass", DoseGy=150), "should be")
    assert said(computed("glass", DoseGy=60), "60.0 Gy, should be at least 80 Gy")
    assert any("10.1007/s00259-021-05600-z" in source for source in result.sources)


def test_partition_with_200_gy_to_normal_liver_is_told() -> None:
    for spheres, words in (
        ("glass", "whole normal liver, 200.0 Gy, should be at most 90 Gy (glass"),
        ("resin", "normal liver that is perfused, 200.0 Gy, should be at most 40 Gy (resin"),
    ):
        result = computed("partition", ActivityGbq=None, NormalDoseGy=200, Spheres=spheres)
        assert said(result, words)


@pytest.mark.parametrize(
    ("changes", "high", "low"),
    [
        ({}, False, True),
        ({"BilirubinMgDl": 1.1}, None, True),
        ({"BilirubinMgDl": 1.2}, False, None),
    ],
)
def test_the_normal_livers_limit_follows_bilirubin(
    changes: dict[str, Any], high: bool | None, low: bool | None
) -> None:
    """Without bilirubin both that may hold are there; a dose of 60 Gy lies between them."""
    result = computed("partition", ActivityGbq=None, NormalDoseGy=60, **changes)
    assert kept(result).get("GlassBilirubinHigh") is high
    assert kept(result).get("GlassBilirubinLow") is low
    assert said(result, "where bilirubin is above 1.1 mg/dL") == (high is False)
    assert not said(result, "where bilirubin is not above")


def test_which_treatment_it_is_decides_and_unsaid_all_that_may_hold_are_there() -> None:
    def names(**changes: Any) -> set[str]:
        return set(kept(computed("glass", PerfusedMl=300, **changes)))

    segment, lobectomy = {"GlassSegment"}, {"GlassLobectomy", "GlassLobectomyLiver"}
    lobes = {"GlassLobesLeast", "GlassLobesMost"}
    assert names(Treatment="segmentectomy") == segment
    assert names(Treatment="lobectomy") == lobectomy
    assert names(Treatment="unilobar") == names(Treatment="bilobar") == lobes
    assert names() == segment | lobectomy | lobes


def test_an_aim_is_a_warning_only_where_the_treatment_is_known() -> None:
    words = "120.0 Gy, should be at least 400 Gy (glass, segmentectomy"
    assert said(computed("glass", PerfusedMl=150, Treatment="segmentectomy"), words)
    assert not said(computed("glass", PerfusedMl=150), "at least")
    assert "at least 400 Gy" in computed("glass", PerfusedMl=150).as_text()


def test_resin_by_partition_has_limits_of_its_own() -> None:
    result = computed("partition", Spheres="resin", **LOBE)
    assert kept(result) == {
        "LungOnce": True,
        "ResinSegment": False,
        "ResinHypertrophy": False,
        "ResinNormal": False,
        "ResinPretreated": False,
        "ResinTumour": True,
    }
    assert said(result, "at most 40 Gy (resin, unilobar or bilobar; EANM guideline 2022)")
    assert said(result, "where the liver was treated before or its function is poor")


def test_a_dose_planned_to_its_limit_keeps_it() -> None:
    """Computed back from the activity it differs in the last digits."""
    for ratio in (2, 3, 7):
        result = computed(
            "partition",
            Spheres="resin",
            ActivityGbq=None,
            NormalDoseGy=40,
            TumourToNormal=ratio,
            LungShunt=0.07,
        )
        assert kept(result)["ResinNormal"]


def test_the_lungs_dose_with_earlier_treatments() -> None:
    # 49.67 * 1.3851618777 GBq * 0.12 / 1 kg
    result = computed("resin", LungShunt=0.12, EarlierLungDoseGy=41.7)
    assert figure(result, "LungDoseGy") == pytest.approx(8.2561188558, rel=1e-9)
    assert figure(result, "LungDoseInAllGy") == pytest.approx(49.9561188558, rel=1e-9)
    assert kept(result) == {"LungOnce": True, "LungInAll": True}
    over = computed("resin", LungShunt=0.12, EarlierLungDoseGy=41.8)
    assert said(over, "lungs, earlier treatments included, 50.1 Gy, should be at most 50 Gy")
    assert computed("resin", LungShunt=0.3).limits == ()  # nothing is given, so no dose


def test_a_sites_own_limit_takes_the_published_ones_place() -> None:
    own = limits_of_site({"LungOnce": 20, "GlassLobesMost": 119}, "setting DoseLimitsGy")
    assert [limit.name for limit in own] == list(LIMITS)
    values = read_inputs({"LiverMl": 1800, "DoseGy": 120, "LungShunt": 0.1})
    result = compute_activity("glass", values, (), None, own)
    assert said(result, "24.7 Gy, should be at most 20 Gy (setting DoseLimitsGy; van Roekel 2021")
    assert said(result, "should be at most 119 Gy")
    assert not said(computed("glass", LungShunt=0.1), "should be")


def test_every_limit_is_held_against_a_dose_that_is_computed() -> None:
    shown = set()
    for changes in ({}, LOBE):
        for spheres in ("glass", "resin"):
            case = computed("partition", EarlierLungDoseGy=1, Spheres=spheres, **changes)
            shown |= set(kept(case))
    shown |= set(kept(computed("glass", PerfusedMl=700)))
    shown |= set(kept(computed("holmium")))
    assert shown == set(LIMITS)
    assert all(limit.source in SOURCES for limit in LIMITS.values())


def test_decay_from_calibration_to_treatment() -> None:
    assert formulas.decayed(4.0, 64.1, formulas.Y90_HALF_LIFE_H) == pytest.approx(2.0)
    # 1.7314523472 GBq * 2^(24 / 64.1); 3 GBq * 2^(-24 / 64.1)
    result = computed("resin", HoursToTreatment=24)
    assert figure(result, "CalibratedGbq") == pytest.approx(2.2445055429, rel=1e-9)
    assert figure(result, "VialAtTreatmentGbq") == pytest.approx(2.3142544950, rel=1e-9)
    assert result.activity_gbq == pytest.approx(1.7314523472)
    assert any("64.2 h" in source for source in result.sources)
    assert not any("64.2 h" in source for source in computed("resin").sources)


def test_a_vial_that_has_decayed_below_the_activity_is_told() -> None:
    # 3 GBq * 2^(-50 / 64.1) = 1.747 GBq, after 52 h 1.710 GBq
    assert not said(computed("resin", HoursToTreatment=50), "than one vial holds")
    assert said(computed("resin", HoursToTreatment=52), "holds at treatment, 1.71 GBq")


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("resin", {"TumourMl": 0.15}, "tumour volume in the whole liver, 0.15 mL, is outside the "),
        ("resin", {"TumourMl": 0.15}, "usual 0.5-3000 mL: check it: if these are litres, multiply"),
        ("resin", {"HeightM": 1.1}, "the height, 1.1 m, is outside the usual 1.2-2.2 m"),
        ("resin", {"HeightM": 2.3}, "the height, 2.3 m, is outside"),
        ("resin", {"WeightKg": 29, "HeightM": 1.3}, "the weight, 29 kg, is outside"),
        ("resin", {"WeightKg": 251}, "the weight, 251 kg, is outside the usual 30-250 kg"),
        ("resin", {"WeightKg": 40}, "height and weight give 13.1 kg/m2, outside the usual 14-40"),
        ("resin", {"WeightKg": 154, "HeightM": 1.75}, "if the weight is in pounds, divide by 2.20"),
        ("resin", {"TumourMl": 1790}, "tumour volume in the whole liver is 99 % of the liver vol"),
        ("resin-lobar", {"LobeTumourMl": 1090}, "tumour volume in that lobe is 99 % of the volume"),
        ("glass", {"PerfusedMl": 1790, "Treatment": "segmentectomy"}, "99 % of the liver is perf"),
        ("glass", {"PerfusedMl": 1700, "Treatment": "unilobar"}, "more than the usual 85 % of a u"),
        ("glass", {"PreparedGbq": 0.5, "LeftBehindGbq": 0.01}, "% of what was planned was deliver"),
        ("glass", {"PreparedGbq": 9.4, "LeftBehindGbq": 0.01}, "% of what was planned was deliver"),
        ("glass", {"PreparedGbq": 4.7, "LeftBehindGbq": 1.2}, "26 % of what was prepared was left"),
        ("resin", {"LiverMl": 299}, "the liver measures 299 mL, outside the usual"),
        ("resin", {"LiverMl": 6001}, "the liver measures 6001 mL, outside the usual"),
        ("glass", {"PerfusedMl": 20}, "(segment, lobe), tumour included, 20 mL, is outside"),
        ("glass", {"DoseGy": 12}, "the planned mean dose to the perfused volume, 12 Gy, is outs"),
        ("partition", {"TumourToNormal": 30}, "uptake ratio, 30, is outside the usual 1-20"),
        ("partition", {"BilirubinMgDl": 17}, "17 mg/dL, is outside the usual 0.1-5 mg/dL: check"),
        ("partition", {"BilirubinMgDl": 17}, "if this is umol/L, divide by 17.1"),
    ],
)
def test_what_is_possible_but_unusual_is_told(
    method: str, changes: dict[str, Any], words: str
) -> None:
    assert said(computed(method, **changes), words)


def test_an_ordinary_case_has_no_warning() -> None:
    for method in METHODS:
        assert computed(method, LungShunt=0.05, ShuntBy="planar").warnings == ()


def test_every_input_has_a_usual_range_inside_the_possible_one() -> None:
    told_otherwise = {"LiverMl", "LungShunt"}
    for name, quantity in QUANTITIES.items():
        assert (quantity.usual is None) == (name in told_otherwise)
        low, high = quantity.usual or (quantity.low, quantity.high)
        assert quantity.low <= low < high <= quantity.high
        assert quantity.goes_with in ("", *QUANTITIES)


def test_text_has_two_decimals_and_mbq_and_json_all_digits() -> None:
    result = computed("resin")
    assert "activity: 1.73 GBq (1731 MBq)\n" in result.as_text()
    shown = json.loads(json.dumps(result.as_json()))
    assert shown["ActivityGbq"] == pytest.approx(1.7314523472, abs=5e-11)
    assert "from memory" not in result.as_text()


@pytest.mark.parametrize("limits", [{}, {"LungShunt": 0.05}])
def test_text_has_no_heading_without_lines(limits: dict[str, float]) -> None:
    text = computed("resin", **limits).as_text()
    assert ("\nLimits and aims\n" in text) == bool(limits)
    for heading in ("Steps", "Limits and aims", "Inputs", "Sources"):
        assert f"\n{heading}\n\n" not in text


def test_json_tells_each_limit() -> None:
    [lungs, *others] = computed("partition", LungShunt=0.35).as_json()["Limits"]
    assert others
    # 49.67 * 2 * 0.35 / 1 kg
    assert lungs["ValueGy"] == pytest.approx(34.769)
    assert lungs | {"ValueGy": 0} == {
        "Name": "LungOnce",
        "Dose": "LungDoseGy",
        "Meaning": "mean dose to the lungs",
        "ValueGy": 0,
        "Bound": "at most",
        "LimitGy": 30,
        "HoldsFor": "",
        "Source": "van Roekel 2021, AAPM MPPG 14.a",
        "Delivered": False,
        "Kept": False,
        "Sentence": "mean dose to the lungs: 34.8 Gy, not kept: at most 30 Gy "
        "(van Roekel 2021, AAPM MPPG 14.a)",
    }
