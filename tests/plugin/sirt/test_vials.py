"""Vials by the hour, holmium, what was delivered, and how the shunt was measured.

Expected figures are computed apart from the code, as beside each.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_liver.sirt.activity import Activity, compute_activity
from orthanc_liver.sirt.inputs import CHOICES, ActivityRefused, read_choices, read_inputs
from tests.plugin.sirt.test_doses import kept
from tests.plugin.sirt.test_sirt import EXAMPLES, computed, figure, gbq, said


def with_table(method: str, **changes: Any) -> Activity:
    """The example of a method with some inputs changed, and the table of vials."""
    asked = EXAMPLES[method] | changes
    numbers = {name: value for name, value in asked.items() if name not in CHOICES}
    words = read_choices({name: value for name, value in asked.items() if name in CHOICES})
    return compute_activity(method, read_inputs(numbers), (), words, with_table=True)


def columns(result: Activity) -> dict[float, list[dict[str, Any]]]:
    shown = json.loads(json.dumps(result.as_json(), allow_nan=False))
    return {one["VialGbq"]: one["Hours"] for one in shown["Table"]}


def wanted(column: list[dict[str, Any]]) -> dict[str, Any]:
    [one] = [row for row in column if row["Wanted"]]
    return one


def test_every_vial_of_glass_at_every_hour() -> None:
    # 120 Gy to 700 mL: 1.7304 GBq; 20 GBq fall to it in 64.1 h * log2(20 / 1.7304) = 226.32 h
    found = columns(with_table("glass", PerfusedMl=700, LungShunt=0))
    assert list(found) == [3, 5, 7, 10, 15, 20]
    assert all([row["Hours"] for row in one] == list(range(228)) for one in found.values())
    row = found[10][24]
    # 10 GBq * 2^(-24 / 64.1) to 0.721 kg, and to 1.854 kg, at 50 Gy kg/GBq
    assert row["HoldsGbq"] == row["GivenGbq"] == pytest.approx(7.7141816498, rel=1e-9)
    assert row["Doses"]["PerfusedDoseGy"] == pytest.approx(534.964053, rel=1e-8)
    assert row["Doses"]["LiverDoseGy"] == pytest.approx(208.041576, rel=1e-8)


def test_of_each_vial_the_hour_of_the_wanted_activity_is_marked() -> None:
    # 64.1 h * log2(vial / 1.7304 GBq), to the nearer hour: 50.88, 98.12, 129.23, ...
    found = columns(with_table("glass", PerfusedMl=700, LungShunt=0))
    assert [wanted(one)["Hours"] for one in found.values()] == [51, 98, 129, 162, 200, 226]
    for one in found.values():
        assert wanted(one)["Doses"]["PerfusedDoseGy"] == pytest.approx(120, rel=0.0055)


def test_a_vial_of_resin_is_drawn_from() -> None:
    # 1.7314523472 of 3 GBq: 57.7 % at once, all of it after 64.1 h * log2(3 / 1.7314...) = 50.83 h
    result = with_table("resin", LungShunt=0.05)
    [column] = columns(result).values()
    given_gbq = [row["GivenGbq"] for row in column[:51]]
    assert given_gbq == [pytest.approx(1.7314523472, abs=5e-11)] * 51
    assert column[51]["GivenGbq"] == column[51]["HoldsGbq"] < 1.7314523472
    assert wanted(column)["Hours"] == 50
    # 49.67 * 1.7314523472 * 0.05
    assert column[0]["Doses"] == {"LungDoseGy": pytest.approx(4.3000619, rel=1e-7)}
    assert "      0    3.00   58\n" in result.as_text()
    assert "     50    1.75   99*\n" in result.as_text()


def test_the_vial_that_is_given_is_the_only_one_and_treatment_is_marked() -> None:
    result = with_table("glass", VialGbq=8, HoursToTreatment=90)
    # 4.4496 of 8 GBq after 54.2 h; the table goes on to the treatment
    [(vial, column)] = columns(result).items()
    assert (vial, len(column), wanted(column)["Hours"]) == (8, 91, 54)
    text = result.as_text()
    # 8 GBq * 2^(-90 / 64.1) = 3.0231 GBq to 1.854 kg
    assert "\n>    90    3.02   82\n" in text
    assert "\n     54    4.46  120*\n" in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_holmium_is_made_to_order() -> None:
    with pytest.raises(ActivityRefused, match="made to order: the table of vials needs VialGbq"):
        with_table("holmium")
    # 7.00812 of 14.01624 GBq after one half-life of 26.8 h
    [column] = columns(with_table("holmium", VialGbq=14.01624)).values()
    assert wanted(column)["Hours"] == 27
    ordered = computed("holmium", HoursToTreatment=26.8)
    assert figure(ordered, "CalibratedGbq") == pytest.approx(14.01624)
    assert "VialAtTreatmentGbq" not in ordered.as_text()
    assert any("26.8 h" in source for source in ordered.sources)


def test_no_activity_has_no_table_and_nothing_unasked_has_one() -> None:
    assert with_table("resin", LungShunt=0.3).table is None
    assert "Table" not in computed("glass").as_json()
    assert with_table("glass", DoseGy=2000).table is not None  # more than any vial holds
    too_small = columns(with_table("glass", DoseGy=2000)).values()
    assert [[row["Wanted"] for row in one] for one in too_small] == [[False]] * 6


@given(
    method=st.sampled_from(["glass", "partition", "resin", "resin-lobar"]),
    dose=st.floats(0.1, 5000),
)
@settings(max_examples=40)
def test_every_cells_doses_go_with_what_is_given(method: str, dose: float) -> None:
    result = with_table(method, LungShunt=0.05, **({"DoseGy": dose} if method == "glass" else {}))
    planned = {one.name: one.value for one in result.figures}
    for vial, column in columns(result).items():
        assert len(column) <= 337
        assert column[0]["HoldsGbq"] == vial
        # Half an hour is 0.54 % of Y-90; after two weeks there is nothing to be marked.
        may_be = 0.99 * gbq_of(result) < vial < 38 * gbq_of(result)
        must_be = gbq_of(result) <= vial < 37 * gbq_of(result)
        assert must_be <= sum(row["Wanted"] for row in column) <= may_be
        for row in column[::17]:
            assert row["HoldsGbq"] == pytest.approx(vial * 2 ** (-row["Hours"] / 64.1))
            for name, gy in row["Doses"].items():
                per_gbq = (planned[name] or 0) / gbq_of(result)
                assert gy == pytest.approx(per_gbq * row["GivenGbq"])


def gbq_of(result: Activity) -> float:
    assert result.activity_gbq is not None
    return result.activity_gbq


def test_holmium_by_hand() -> None:
    result = computed("holmium", PerfusedMl=900, LungShunt=0.04)
    assert figure(result, "PerfusedDoseGy") == pytest.approx(60)
    assert figure(result, "LiverDoseGy") == pytest.approx(30)
    # 3.50406 / 0.96 GBq * 0.04 to 1 kg at 60 / 3.78 Gy kg/GBq
    assert figure(result, "LungDoseGy") == pytest.approx(2.3175, rel=1e-9)
    assert kept(result) == {"LungOnce": True, "HolmiumPerfused": True}
    assert said(computed("holmium", DoseGy=61), "61.0 Gy, should be at most 60 Gy (holmium; van R")
    shown = computed("holmium")
    assert shown.as_json()["Nuclide"] == "Ho-166"
    assert shown.as_text().startswith("Ho-166 activity, holmium, one compartment\n")
    # without a vial on offer nothing is more than one holds
    assert not said(computed("holmium", LiverMl=6000), "vial")


def test_partition_of_holmium() -> None:
    # k is 60 / 3.78, not 49.67: D_N = 40.7219 * (60 / 3.78) / 49.67 for 2 GBq
    result = computed("partition", Spheres="holmium")
    assert figure(result, "NormalDoseGy") == pytest.approx(13.0135, abs=5e-5)
    dose = figure(result, "NormalDoseGy")
    backwards = gbq("partition", Spheres="holmium", ActivityGbq=None, NormalDoseGy=dose)
    assert backwards == pytest.approx(2)


def test_what_was_delivered() -> None:
    # 0.1 GBq an hour and a half-life's tenth later: 0.1 * 2^0.1; 4.5 less that; of 4.4496 * 0.99
    result = computed(
        "glass",
        Residual=0.01,
        LungShunt=0.05,
        PreparedGbq=4.5,
        LeftBehindGbq=0.1,
        HoursToResidual=6.41,
    )
    assert figure(result, "ResidualGbq") == pytest.approx(0.1071773463, rel=1e-9)
    assert figure(result, "DeliveredGbq") == pytest.approx(4.3928226537, rel=1e-9)
    assert figure(result, "ResidualFound") == pytest.approx(0.0238171881, rel=1e-8)
    # planned to be delivered: 4.7311004785 * 0.99
    assert figure(result, "DeliveredShare") == pytest.approx(0.9378779039, rel=1e-9)
    assert figure(result, "DeliveredPerfusedDoseGy") == pytest.approx(112.545348464, rel=1e-9)
    assert result.activity_gbq == pytest.approx(4.7311004785)


def test_what_was_delivered_is_held_against_the_limits_too() -> None:
    case = {"LungShunt": 0.1, "EarlierLungDoseGy": 18, "PreparedGbq": 6, "LeftBehindGbq": 0}
    result = computed("glass", **case)
    # planned 50 * 4.944 * 0.1 = 24.7 Gy; of 6 GBq 30 Gy, with 18 earlier 48
    assert figure(result, "DeliveredLungDoseGy") == pytest.approx(30)
    assert figure(result, "DeliveredLungDoseInAllGy") == pytest.approx(48)
    more = computed("glass", **{**case, "PreparedGbq": 6.5})
    assert said(more, "mean dose to the lungs, delivered, 32.5 Gy, should be at most 30 Gy")
    assert said(more, "the mean dose to the perfused volume, delivered, 157.8 Gy, should be at m")
    assert not said(result, "should be at most 30 Gy")
    of_it = [one["Name"] for one in more.as_json()["Limits"] if one["Delivered"]]
    assert of_it == [one["Name"] for one in more.as_json()["Limits"] if not one["Delivered"]]


def test_what_was_given_against_the_advice_is_still_told() -> None:
    """Resin above a shunt of 20 %: no plan to compare with, yet so much was given."""
    result = computed("resin", LungShunt=0.3, PreparedGbq=1.5, LeftBehindGbq=0.1)
    assert figure(result, "DeliveredGbq") == pytest.approx(1.4)
    assert figure(result, "DeliveredShare") is None


def test_how_the_shunt_was_measured_is_asked_for_and_printed() -> None:
    words = "how the lung shunt was measured, ShuntBy, was not said"
    assert said(computed("glass", LungShunt=0.05), words)
    assert not said(computed("glass"), words)
    result = computed("glass", LungShunt=0.05, ShuntBy="SPECT/CT")
    assert not said(result, words)
    assert "  how the lung shunt was measured: SPECT/CT\n" in result.as_text()
    assert any("6.9 % by planar images, 3.9 % by SPECT/CT" in one for one in result.sources)


def test_the_largest_shunt_that_the_lungs_limit_allows() -> None:
    # 30 Gy * 1 kg / (30 Gy * 1 kg + 150 Gy * 1.854 kg)
    result = computed("glass", DoseGy=150)
    assert figure(result, "LargestLungShunt") == pytest.approx(0.0973709834, rel=1e-8)
    assert any("10.1093/radadv/umag007" in one for one in result.sources)
    assert "LargestLungShunt" not in {one.name for one in computed("resin").figures}


def achievable_gy(shunt: float, liver_gy: float, lung_gy: float, of: dict[str, float]) -> float:
    """The whole liver's dose with the largest activity (GBq) that keeps both limits."""
    k = 50.0
    by_liver = liver_gy * of["liver_kg"] / k / (1 - shunt)
    by_lungs = lung_gy * of["lung_kg"] / k / shunt
    return min(by_liver, by_lungs) * k * (1 - shunt) / of["liver_kg"]


@pytest.mark.parametrize("perfused_ml", [None, 300, 900])
@pytest.mark.parametrize(("liver_gy", "lung_kg"), [(75, 1.0), (150, 0.6), (40, 1.3)])
def test_it_is_the_smallest_shunt_at_which_the_lungs_decide(
    perfused_ml: int | None, liver_gy: float, lung_kg: float
) -> None:
    """As Thomas et al. 2026 define LSFbound: found by bisection, whatever is perfused."""
    masses = {"liver_kg": 1800 * 1.03 / 1000, "lung_kg": lung_kg}
    low, high = 1e-6, 0.999
    while high - low > 1e-9:
        middle = (low + high) / 2
        if achievable_gy(middle, liver_gy, 30.0, masses) < liver_gy - 1e-9:
            high = middle
        else:
            low = middle
    planned_gy = liver_gy * 1800 / (perfused_ml or 1800)
    case = {"PerfusedMl": perfused_ml, "DoseGy": planned_gy, "LungMassKg": lung_kg}
    result = computed("glass", **case, LungShunt=0.01, LiverMl=1800)
    assert figure(result, "LargestLungShunt") == pytest.approx(high, rel=1e-6)


@pytest.mark.parametrize("method", ["glass", "holmium", "partition"])
@pytest.mark.parametrize("part", [{}, {"PerfusedMl": 900}])
@pytest.mark.parametrize(("earlier", "most"), [(0, 30), (12, 30), (41, 9)])
def test_with_the_largest_shunt_the_lungs_get_their_limit(
    method: str, part: dict[str, Any], earlier: float, most: float
) -> None:
    """Law: at the same dose to what is perfused."""
    case = {"LungMassKg": 0.8, "EarlierLungDoseGy": earlier, "Residual": 0.02, **part}
    if method == "partition":
        case |= {"PerfusedTumourMl": 100} if part else {}
        case |= {"ActivityGbq": None, "NormalDoseGy": 70, "Residual": None}
    largest = figure(computed(method, **case, LungShunt=0.05), "LargestLungShunt")
    assert largest is not None
    result = computed(method, **case, LungShunt=largest)
    assert figure(result, "LungDoseGy") == pytest.approx(most)
    assert figure(result, "LargestLungShunt") == pytest.approx(largest)
