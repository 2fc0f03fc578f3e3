"""What a request may ask to cut, and which of several cuts stand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orthanc_liver.engine.protocol import MOST_DRAWINGS, MOST_NUMBERS, Cut
from orthanc_liver.host.errors import CutAskedBadly, NotOurs
from orthanc_liver.host.jobs import stored_form
from orthanc_liver.host.review.cut import StoredCut, cut_asked, what_stands

PLANE = Cut(plane=(1.0, 2.5, -3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.125))
LASSOS = Cut(lassos=(((0.5,) * 9, (1.5,) * 12), ((2.5,) * 9,)))
DRAWING = [0.0] * 9
BEGUN = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
RESULT, NEWER_RESULT = "2.25.7", "2.25.8"


def stored(cut: Cut, by: str = "Ada", minute: int = 0, outline: str = RESULT) -> StoredCut:
    time = BEGUN + timedelta(minutes=minute)
    series = "-".join(["0" * 8] * 5)
    return StoredCut(series, outline, cut, by, True, time, {"Right lobe": 900.25})


@pytest.mark.parametrize("cut", [PLANE, LASSOS])
def test_what_is_kept_is_read(cut: Cut) -> None:
    one = stored(cut)
    kept = json.loads(json.dumps(one.as_json()))
    assert stored_form.read_cut(stored_form.Fields(kept)) == one


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"Plane": [1.0]}, "Plane must hold numbers"),
        ({"Lassos": [[DRAWING]]}, "either Plane or Lassos"),
        ({"Outline": "../x"}, "Outline"),
        ({"Time": ""}, "Time is missing"),
        ({"PartsMl": {"Right lobe": "much"}}, "Right lobe"),
        ({"PartsMl": None}, "not a JSON object"),
        ({"SupersededBy": "somebody"}, "SupersededBy"),
        ({"Series": "x"}, "Series"),
    ],
)
def test_a_note_of_others_is_not_ours(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NotOurs, match=sentence):
        stored_form.read_cut(stored_form.Fields(stored(PLANE).as_json() | wrong))


def test_numbers_are_rounded_to_a_micrometre() -> None:
    assert cut_asked({"Plane": [1, 2.00049, -0.5] * 3}).plane == (1.0, 2.0, -0.5) * 3


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "either Plane or Lassos"),
        ({"Plane": [0.0] * 9, "Lassos": [[DRAWING]]}, "either Plane or Lassos"),
        ({"Plane": "0" * 9}, "Plane must be a list"),
        ({"Plane": [0.0] * 12}, "Plane must be three points"),
        ({"Plane": [0.0] * 8}, "x, y, z of each point"),
        ({"Plane": [0.0] * 8 + [True]}, "numbers in mm"),
        ({"Plane": [0.0] * 8 + ["1"]}, "numbers in mm"),
        ({"Plane": [0.0] * 8 + [float("nan")]}, "numbers in mm"),
        ({"Plane": [0.0] * 8 + [float("inf")]}, "numbers in mm"),
        ({"Plane": [0.0] * 8 + [10**400]}, "from -20000 to 20000"),
        ({"Lassos": []}, "1 to 4 regions"),
        ({"Lassos": [[]]}, "each of some drawings"),
        ({"Lassos": [[DRAWING]] * 5}, "1 to 4 regions"),
        ({"Lassos": [DRAWING]}, "Lassos must be a list"),
        ({"Lassos": [[[0.0] * 6]]}, "three points or more"),
        ({"Lassos": [[DRAWING] * (MOST_DRAWINGS + 1)]}, "draw on fewer slices"),
        ({"Lassos": [[[0.0] * MOST_NUMBERS, DRAWING]]}, "draw on fewer slices"),
        ({"Lassos": [[[0.0] * (MOST_NUMBERS + 3)]]}, "numbers in mm"),
    ],
)
def test_what_is_no_cut_is_refused_in_a_sentence(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CutAskedBadly, match=sentence):
        cut_asked(asked)


def test_of_each_person_the_newest_of_each_way_stands_on_the_newest_outline() -> None:
    cuts = [
        ("first", stored(PLANE)),
        ("grace's", stored(PLANE, by="Grace", minute=1)),
        ("lassos", stored(LASSOS, minute=2)),
        ("second", stored(PLANE, minute=3)),
    ]
    nothing = {"grace's": "", "lassos": "", "second": ""}
    assert what_stands(cuts, RESULT) == nothing | {"first": "second"}
    assert what_stands(cuts[::-1], RESULT) == nothing | {"first": "second"}
    of_newer = what_stands([*cuts, ("new", stored(PLANE, outline=NEWER_RESULT))], NEWER_RESULT)
    former = {"first": "second", **dict.fromkeys(nothing, NEWER_RESULT)}
    assert of_newer == former | {"new": ""}
