"""The Y-90 numbers against hand-checked ones, and nonsense refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_liver.sirt import formulas
from orthanc_liver.sirt.activity import Activity, compute_activity
from orthanc_liver.sirt.inputs import (
    CHOICES,
    QUANTITIES,
    ActivityRefused,
    read_choices,
    read_inputs,
    read_report,
)
from orthanc_liver.sirt.methods import METHODS

RESIN: dict[str, Any] = {"LiverMl": 1800, "TumourMl": 150, "HeightM": 1.75, "WeightKg": 70}
LOBE: dict[str, Any] = {
    "LiverMl": 1800,
    "LobeMl": 1100,
    "LobeTumourMl": 100,
    "HeightM": 1.75,
    "WeightKg": 70,
}
GLASS: dict[str, Any] = {"LiverMl": 1800, "DoseGy": 120}
PARTITION: dict[str, Any] = {
    "LiverMl": 1800,
    "TumourMl": 150,
    "TumourToNormal": 4,
    "LungShunt": 0.05,
    "ActivityGbq": 2,
    "Spheres": "glass",
}
HOLMIUM: dict[str, Any] = {"LiverMl": 1800}
EXAMPLES = {
    "resin": RESIN,
    "resin-lobar": LOBE,
    "glass": GLASS,
    "holmium": HOLMIUM,
    "partition": PARTITION,
}


def computed(method: str, **changes: Any) -> Activity:
    """The example of a method with some inputs changed; None takes one away."""
    given = {name: v for name, v in (EXAMPLES[method] | changes).items() if v is not None}
    values = {name: v for name, v in given.items() if name not in CHOICES}
    chosen = read_choices({name: v for name, v in given.items() if name in CHOICES})
    return compute_activity(method, read_inputs(values), (), chosen)


def gbq(method: str, **changes: Any) -> float:
    value = computed(method, **changes).activity_gbq
    assert value is not None
    return value


def figure(result: Activity, name: str) -> float | None:
    return next(one.value for one in result.figures if one.name == name)


def said(result: Activity, words: str) -> bool:
    return any(words in warning for warning in result.warnings)


def test_body_surface_area() -> None:
    assert figure(computed("resin"), "BsaM2") == pytest.approx(1.8481190138, abs=5e-11)


@pytest.mark.parametrize(
    ("method", "changes", "expected_gbq"),
    [
        ("resin", {}, 1.7314523472),
        # A rounded ratio times a rounded activity gives ...0981; in forty digits it is ...09800.
        ("resin", {"LiverMl": 1782}, 1.7322940980),
        ("resin", {"LungShunt": 0.12}, 1.3851618777),
        ("resin", {"LungShunt": 0.17}, 1.0388714083),
        ("resin-lobar", {}, 1.0627393973),
        ("glass", {}, 4.4496),
        ("glass", {"LungShunt": 0.05, "Residual": 0.01}, 4.7311004785),
        # 3.78 GBq a kg for 60 Gy: 1.8 L * 1.03 kg/L * 3.78, half of it for 30 Gy to 1.8 L
        ("holmium", {}, 7.00812),
        ("holmium", {"PerfusedMl": 900, "DoseGy": 60}, 3.50406),
        ("holmium", {"DoseGy": 30, "LungShunt": 0.1}, 3.8934),
    ],
)
def test_activity(method: str, changes: dict[str, float], expected_gbq: float) -> None:
    assert gbq(method, **changes) == pytest.approx(expected_gbq, abs=5e-11)


@pytest.mark.parametrize(
    ("liver_ml", "ra", "digit"),
    [
        (1782, 1.0004861531, 5e-11),
        (0.8 * 1800, 1.01203, 5e-6),
        (0.9 * 1800, 1.00535, 5e-6),
        (1.1 * 1800, 0.99562, 5e-6),
        (1.2 * 1800, 0.99198, 5e-6),
    ],
)
def test_resin_hardly_sees_a_wrong_volume(liver_ml: float, ra: float, digit: float) -> None:
    assert gbq("resin", LiverMl=liver_ml) / gbq("resin") == pytest.approx(ra, abs=digit)
    assert gbq("glass", LiverMl=liver_ml) / gbq("glass") == pytest.approx(liver_ml / 1800)


def test_partition_doses() -> None:
    result = computed("partition")
    assert figure(result, "NormalDoseGy") == pytest.approx(40.7219, abs=5e-5)
    assert figure(result, "TumourDoseGy") == pytest.approx(162.8876, abs=5e-5)
    assert figure(result, "LungDoseGy") == pytest.approx(4.9670, abs=5e-5)


def test_partition_backwards_comes_to_the_activity_it_started_from() -> None:
    forwards = computed("partition")
    for aim in ("NormalDoseGy", "TumourDoseGy"):
        dose = figure(forwards, aim)
        assert gbq("partition", ActivityGbq=None, **{aim: dose}) == pytest.approx(2)


@pytest.mark.parametrize(
    ("shunt", "factor"),
    [(0, 1), (0.0999, 1), (0.1, 0.8), (0.1499, 0.8), (0.15, 0.6), (0.2, 0.6), (0.2001, None)],
)
def test_edges_of_the_lung_shunt_reduction(shunt: float, factor: float | None) -> None:
    assert formulas.lung_shunt_factor(shunt) == factor
    result = computed("resin", LungShunt=shunt)
    assert result.activity_gbq == (None if factor is None else gbq("resin") * factor)
    assert said(result, "do not treat") == (factor is None)
    assert said(result, "is reduced to") == (factor in (0.8, 0.6))


def test_a_high_shunt_is_told_by_every_method() -> None:
    assert said(computed("glass", LungShunt=0.3), "above 20 %")
    assert said(computed("partition", LungShunt=0.3), "above 20 %")


@pytest.mark.parametrize("shunt", [0.1, 0.12])
def test_lung_dose_above_its_limit(shunt: float) -> None:
    # 50 * 4.4496 / (1 - LSF) * LSF / 1 kg: 24.7 Gy and 30.3 Gy
    words = "dose to the lungs, 30.3 Gy, should be at most 30 Gy (van Roekel 2021, AAPM MPPG 14.a)"
    assert said(computed("glass", LungShunt=shunt), words) == (shunt > 0.11)


def test_without_a_shunt_no_lung_dose_is_claimed() -> None:
    result = computed("glass")
    assert figure(result, "LungDoseGy") is None
    assert said(result, "the lung shunt was not given")
    assert said(computed("resin"), "the lung shunt was not given")


def test_more_than_a_vial() -> None:
    assert not said(computed("resin"), "than one vial holds")
    assert said(computed("resin", VialGbq=1.7), "vial holds at calibration, 1.70 GBq (given)")
    large = computed("resin", HeightM=2.4, WeightKg=300)
    assert said(large, "holds at calibration, 3.00 GBq (constant: one vial")
    assert said(computed("glass", DoseGy=600), "holds at calibration, 20.00 GBq (constant")
    assert said(computed("partition", VialGbq=1), "than one vial holds")
    by_resin = computed("partition", Spheres="resin", ActivityGbq=4)
    assert said(by_resin, "holds at calibration, 3.00 GBq")


def test_an_unusual_liver_is_told_once_and_in_the_segmentations_words() -> None:
    report: dict[str, Any] = {
        "liver_ml": 450.0,
        "warnings": [
            "liver touches the top of the field of view: volume is a lower bound",
            "the liver measures 450 mL, outside the usual 500-5000 mL: check the outline",
        ],
    }
    liver, warnings = read_report(report, "segmentation")
    inputs = read_inputs({**RESIN, "LungShunt": 0.0}) | {"LiverMl": liver}
    assert compute_activity("resin", inputs, warnings).warnings == tuple(report["warnings"])
    assert said(computed("resin", LiverMl=5001), "outside the usual")
    assert not said(computed("resin", LiverMl=5000), "outside the usual")


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("resin", {"HeightM": 175}, r"HeightM \(given\).* looks like centimetres"),
        ("resin", {"HeightM": 0.0175}, "HeightM .* as if they were centimetres"),
        ("resin", {"HeightM": 17.5}, r"HeightM \(given\) must be from 0.5 to 2.5 m$"),
        ("resin", {"WeightKg": 70000}, "WeightKg .* must be from 10 to 400 kg"),
        ("resin", {"LiverMl": -1800}, "LiverMl .* must be from 20 to"),
        ("resin", {"TumourMl": -1}, "TumourMl .* must be from 0 to"),
        ("resin", {"LiverMl": 0}, "LiverMl"),
        ("resin", {"TumourMl": 1801}, "TumourMl\\) is not smaller than the liver volume"),
        ("resin", {"TumourMl": 1800}, "TumourMl\\) is not smaller than the liver volume"),
        ("partition", {"TumourMl": 1800}, "TumourMl\\) is not smaller than the liver volume"),
        ("resin", {"LiverMl": 1.8, "TumourMl": 0.15}, "if these are litres, multiply by 1000"),
        ("resin", {"WeightKg": 17.5}, "HeightM, and the weight, WeightKg, contradict each other"),
        ("resin-lobar", {"HeightM": 0.7}, "HeightM, and the weight, WeightKg, contradict"),
        ("resin", {"LungShunt": 12}, "LungShunt .* for 12 % give 0.12"),
        ("resin", {"LungShunt": 1}, "LungShunt"),
        ("resin", {"LungShunt": -0.1}, "LungShunt"),
        ("resin", {"LiverMl": float("nan")}, "LiverMl .* is not a finite number"),
        ("resin", {"LiverMl": float("inf")}, "LiverMl .* is not a finite number"),
        ("resin", {"LiverMl": 10**400}, "LiverMl .* is not a finite number"),
        ("resin", {"LiverMl": "1800"}, "LiverMl .* is not a finite number"),
        ("resin", {"LiverMl": True}, "LiverMl .* is not a finite number"),
        ("resin", {"HeightM": None}, "resin also needs: height \\(HeightM\\)$"),
        ("resin", {"TumourML": 150}, "unknown: TumourML"),
        ("resin-lobar", {"LobeMl": 1900}, "LobeMl\\) is larger than the liver volume"),
        (
            "resin-lobar",
            {"LobeTumourMl": 1101},
            "LobeTumourMl\\) is not smaller than the volume of",
        ),
        ("resin-lobar", {"TumourMl": 150}, "resin-lobar does not use: TumourMl; it takes: Liv"),
        ("glass", {"DoseGy": None}, "glass also needs"),
        ("glass", {"Residual": 1}, "Residual .* for 12 % give 0.12"),
        ("partition", {"LungShunt": None}, "partition also needs: lung shunt"),
        ("partition", {"ActivityGbq": None}, "exactly one of"),
        ("partition", {"TumourDoseGy": 100}, "exactly one of"),
        ("partition", {"ActivityGbq": None, "DoseGy": 100}, "partition does not use: DoseGy"),
        ("partition", {"Spheres": None}, "partition also needs: Spheres, glass or resin"),
        ("partition", {"Spheres": "Glass"}, "Spheres must be one of: glass, resin"),
        ("partition", {"Spheres": ["glass"]}, "Spheres must be one of: glass, resin"),
        ("partition", {"Treatment": "right lobe"}, "Treatment must be one of: segmentectomy, lob"),
        ("partition", {"Spheres": "resin", "BilirubinMgDl": 1}, "is for limits of glass"),
        ("partition", {"PerfusedMl": 1000}, "with a perfused volume .* also needs: tumour"),
        ("partition", {"PerfusedTumourMl": 9}, "PerfusedTumourMl changes nothing without Perf"),
        (
            "partition",
            {"PerfusedMl": 1000, "PerfusedTumourMl": 151},
            "PerfusedTumourMl\\) is larger than the tumour volume",
        ),
        (
            "partition",
            {"PerfusedMl": 140, "PerfusedTumourMl": 140},
            "PerfusedTumourMl\\) is not smaller than the volume of the part",
        ),
        (
            "partition",
            {"PerfusedMl": 1750, "PerfusedTumourMl": 90},
            "more normal liver is perfused .* than there is",
        ),
        ("glass", {"PerfusedMl": 1801}, "PerfusedMl\\) is larger than the liver volume"),
        ("glass", {"LobeMl": 700}, "glass does not use: LobeMl; it takes: .*PerfusedMl"),
        ("glass", {"HeightM": 1.75}, "glass does not use: HeightM"),
        ("glass", {"Spheres": "resin"}, "glass does not use: Spheres"),
        ("resin", {"Treatment": "bilobar"}, "resin does not use: Treatment"),
        ("resin", {"LungMassKg": 1}, "LungMassKg changes nothing without LungShunt"),
        ("resin", {"EarlierLungDoseGy": 9}, "EarlierLungDoseGy changes nothing without LungShunt"),
        ("glass", {"Treatment": "unilobar"}, "give its volume, less than the liver's, as Perfus"),
        ("glass", {"Treatment": "segmentectomy", "PerfusedMl": 1800}, "reaches a part of the liv"),
        ("holmium", {"Treatment": "bilobar"}, "holmium does not use: Treatment"),
        ("partition", {"Spheres": "holmium", "BilirubinMgDl": 1}, "is for limits of glass"),
        ("glass", {"ShuntBy": "planar"}, "ShuntBy changes nothing without LungShunt"),
        ("glass", {"ShuntBy": "SPECT"}, "ShuntBy must be one of: planar, SPECT/CT"),
        ("glass", {"PreparedGbq": 4}, "PreparedGbq changes nothing without LeftBehindGbq"),
        ("glass", {"LeftBehindGbq": 1}, "LeftBehindGbq changes nothing without PreparedGbq"),
        ("glass", {"HoursToResidual": 1}, "HoursToResidual changes nothing without LeftBehind"),
        (
            "glass",
            {"PreparedGbq": 1, "LeftBehindGbq": 0.6, "HoursToResidual": 64.1},
            "LeftBehindGbq\\) is not less than .*PreparedGbq",
        ),
        (
            "partition",
            {"ActivityGbq": None, "TumourDoseGy": 100, "TumourMl": 0},
            "needs a tumour volume",
        ),
    ],
)
def test_nonsense_is_refused_by_name(method: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ActivityRefused, match=sentence):
        computed(method, **changes)


@pytest.mark.parametrize("name", ["Resin", "", None, ["resin"], 1])
def test_an_unknown_method_is_refused(name: Any) -> None:
    with pytest.raises(ActivityRefused, match="resin, resin-lobar, glass, holmium, partition"):
        compute_activity(name, read_inputs(RESIN))


@pytest.mark.parametrize(
    "report",
    [
        None,
        [],
        {},
        {"liver_ml": None},
        {"liver_ml": "1800"},
        {"liver_ml": -1},
        {"liver_ml": 1800, "warnings": "text"},
        {"liver_ml": 1800, "warnings": [1]},
    ],
)
def test_what_is_no_report_is_refused(report: Any) -> None:
    with pytest.raises(ActivityRefused):
        read_report(report, "segmentation")


@pytest.mark.parametrize("method", METHODS)
def test_every_number_has_unit_origin_and_formula(method: str) -> None:
    result = computed(method, LungShunt=0.05)
    shown = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert shown["Note"] == "For review by a physician; not a medical device."
    assert shown["ActivityGbq"] == result.activity_gbq
    assert shown["Sources"]
    for step in shown["Results"]:
        assert step["Formula"]
        assert step["Unit"] or step["Name"] in ("LungShuntFactor", "LargestLungShunt")
    given_names = {*EXAMPLES[method], "LungShunt"} - {"Spheres"}
    assert shown["Chosen"]["Spheres"] in CHOICES["Spheres"].options
    for one in shown["Inputs"]:
        assert one["Origin"].startswith(("assumed: ", "constant: ")) or one["Origin"] == "given"
        assert (one["Name"] in given_names) == (one["Origin"] == "given")
    text = result.as_text()
    assert "For review by a physician; not a medical device." in text
    for step in shown["Results"]:
        assert step["Formula"] in text


@pytest.mark.parametrize("method", METHODS)
def test_every_symbol_of_a_formula_is_explained(method: str) -> None:
    after = {"PreparedGbq": 2, "LeftBehindGbq": 0.1, "HoursToResidual": 3}
    lungs = {"LungShunt": 0.05, "EarlierLungDoseGy": 1}
    shown = computed(method, HoursToTreatment=4, VialGbq=9, **lungs, **after).as_json()
    symbols = {one["Symbol"] for one in shown["Inputs"]}
    for step in shown["Results"]:
        left, _, right = step["Formula"].partition(" = ")
        assert right or step["Formula"] == "A as given"
        if right and step["Name"] != "LungShuntFactor":
            words = "".join(c if c not in "[]()*/+-^" else " " for c in right).split()
            unknown = {w for w in words if w[0].isalpha()} - symbols
            assert not unknown, step["Formula"]
        symbols.add(left.strip())


@given(
    method=st.sampled_from(list(METHODS)),
    name=st.sampled_from([*QUANTITIES, *CHOICES]),
    value=st.floats() | st.integers() | st.text() | st.none() | st.booleans(),
)
def test_whatever_is_given_there_is_an_answer_or_a_sentence(
    method: str, name: str, value: Any
) -> None:
    """No input crashes, and no answer is infinite or not a number."""
    try:
        result = computed(method, **{name: value})
    except ActivityRefused as refusal:
        shown = str(refusal)
    else:
        shown = json.dumps(result.as_json(), allow_nan=False)
    assert "\n" not in shown
