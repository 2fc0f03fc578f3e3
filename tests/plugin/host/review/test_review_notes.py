"""Any client of Orthanc may write metadata 4505: what is no decision of ours decides nothing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from orthanc_liver.host.errors import NotOurs
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.jobs.stored_form import read_review
from tests.plugin.host.paper import Paper, orthanc_id

SERIES = orthanc_id("series")
NOTE = f"/series/{SERIES}/metadata/4505"
OURS: dict[str, Any] = {
    "Series": SERIES,
    "Job": "01234567-0123-0123-0123-0123456789ab",
    "Rtstruct": orthanc_id("rtstruct"),
    "Verdict": "rejected",
    "Reason": "it leaks into the heart",
    "By": "Ada",
    "IsTyped": True,
    "Time": "20261128T063216.123456",
}


def reviews_in(note: bytes) -> tuple[list[Any], Paper]:
    paper = Paper()
    paper.kept[NOTE] = note
    return Ledger(paper).read_reviews(SERIES), paper  # type: ignore[arg-type] # enough of one


def test_our_note_is_read_as_it_was_written() -> None:
    [review], paper = reviews_in(json.dumps({"Version": 1, "Reviews": [OURS]}).encode())
    assert review.as_json() == OURS
    assert paper.said == []


@pytest.mark.parametrize("key", OURS)
def test_nothing_of_a_review_has_a_default(key: str) -> None:
    part = {name: value for name, value in OURS.items() if name != key}
    with pytest.raises(NotOurs):
        read_review(part)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("Version",), 2),
        (("Reviews",), {}),
        (("Reviews", 0), "accepted"),
        (("Reviews", 0, "Series"), orthanc_id("another series")),
        (("Reviews", 0, "Series"), "../../tools/shutdown"),
        (("Reviews", 0, "Job"), "x"),
        (("Reviews", 0, "Rtstruct"), "x"),
        (("Reviews", 0, "Verdict"), "Accepted"),
        (("Reviews", 0, "Verdict"), ["accepted"]),
        (("Reviews", 0, "Verdict"), ""),
        (("Reviews", 0, "Reason"), ""),
        (("Reviews", 0, "Reason"), "x" * 501),
        (("Reviews", 0, "Reason"), "two\nlines"),
        (("Reviews", 0, "By"), " "),
        (("Reviews", 0, "By"), {"name": "Ada"}),
        (("Reviews", 0, "By"), "\u202eadA"),
        (("Reviews", 0, "IsTyped"), 1),
        (("Reviews", 0, "Time"), "yesterday"),
        (("Reviews", 0, "Time"), "20261345T000000.000000"),
    ],
)
def test_a_note_that_is_changed_in_one_place_decides_nothing(
    path: tuple[Any, ...], value: Any
) -> None:
    note: Any = copy.deepcopy({"Version": 1, "Reviews": [OURS]})
    place = note
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    reviews, paper = reviews_in(json.dumps(note).encode())
    assert reviews == []
    assert [said.partition(":")[0] for said in paper.said] == [
        f"metadata 4505 of {SERIES} is not ours"
    ]


@pytest.mark.parametrize("note", [b"", b"accepted", b"[]", b"[7]", b"null", b'{"Reviews": null}'])
def test_rubbish_in_the_note_decides_nothing(note: bytes) -> None:
    assert reviews_in(note)[0] == []
