"""Any client of Orthanc may write metadata 4507: what is no comparison of ours is not shown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Agreement
from orthanc_liver.host.errors import StateUnreadable
from orthanc_liver.host.jobs.records import Ledger, QualityState
from orthanc_liver.host.quality.chart import Limits
from orthanc_liver.host.quality.comparison import Comparison, ModelLimits, Returned, cases_of
from tests.plugin.host.paper import Paper, orthanc_id

SERIES = orthanc_id("series")
NOTE = f"/series/{SERIES}/metadata/4507"
JOB = "5a3c0f0e-0000-4000-8000-00000000000d"
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
AGREEMENT = Agreement(0.9312, 1.5, 1.02, 1.02, 1530.0, 1500.0, 31, 12.5, ("a gap",))
COMPARISON = Comparison(
    SERIES,
    orthanc_id("study"),
    JOB,
    orthanc_id("ours"),
    "net",
    "a" * 64,
    "look",
    Returned(
        *(orthanc_id("theirs"), "1.2.3", "0" * 32, "RTSTRUCT", "Liver"),
        *("APPROVED", "20260304120000", "JONES", "DicomProtocol"),
    ),
    NOON,
    AGREEMENT,
)
REFUSED = replace(COMPARISON, agreement=None, reason="no polygon")


def ledger_of(paper: Paper) -> Ledger:
    return Ledger(paper)  # type: ignore[arg-type] # as much as is used of one


def another(uid: str, **changed: Any) -> Comparison:
    return replace(
        COMPARISON, returned=replace(COMPARISON.returned, sop_instance_uid=uid), **changed
    )


@pytest.mark.parametrize("one", [COMPARISON, REFUSED], ids=["compared", "refused"])
def test_ours_is_read(one: Comparison) -> None:
    paper = Paper()
    assert ledger_of(paper).record_comparison(one) == [one]
    assert ledger_of(paper).read_comparisons(SERIES) == [one]
    assert paper.said == []


def test_the_same_outline_again_takes_its_own_place() -> None:
    ledger = ledger_of(Paper())
    for one in (COMPARISON, another("1.2.4"), replace(COMPARISON, grade="sure")):
        kept = ledger.record_comparison(one)
    assert [one.returned.sop_instance_uid for one in kept] == ["1.2.4", "1.2.3"]
    assert kept[-1].grade == "sure"
    for number in range(30):
        kept = ledger.record_comparison(another(f"1.3.{number}"))
    assert len(kept) == 20
    assert kept[-1].returned.sop_instance_uid == "1.3.29"
    assert len(ledger.read_comparisons(SERIES)) == 20  # not too deeply nested


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Series", orthanc_id("another series")),
        ("Study", "../../tools/shutdown"),
        ("Instance", None),
        ("Ours", "x"),
        ("Job", "1"),
        ("SopInstanceUid", "1.2.<b>"),
        ("Md5", "none"),
        ("Kind", "SR"),
        ("Sha256", "short"),
        ("Grade", "certain"),
        ("Time", ""),
        ("Dsc", 1.5),
        ("Dsc", True),
        ("Dsc", "0.9"),
        ("Dsc", None),
        ("MdaMm", -1),
        ("Rv", None),
        ("WorstSlice", 0),
        ("WorstSlice", 3.5),
        ("Warnings", "x"),
        ("StoredBy", 7),
    ],
)
def test_what_is_not_ours_is_left_out_and_said_once(key: str, value: object) -> None:
    paper = Paper()
    note = {"Version": 1, "Comparisons": [{**COMPARISON.as_json(), key: value}]}
    paper.kept[NOTE] = json.dumps(note).encode()
    ledger = ledger_of(paper)
    assert ledger.read_comparisons(SERIES) == []
    assert ledger.read_comparisons(SERIES) == []
    assert [said[:13] for said in paper.said] == ["metadata 4507"]


def test_which_series_and_limits_are_kept() -> None:
    paper = Paper()
    limits = ModelLimits("b" * 64, Limits(0.34, 0.05, 150), NOON)
    state = QualityState([SERIES], [orthanc_id("awaits")], [limits])
    assert ledger_of(paper).read_quality() == QualityState([], [], [])
    ledger_of(paper).keep_quality(state)
    assert ledger_of(paper).read_quality() == state
    for wrong in ('{"Version": 2, "Series": []}', '{"Version": 1, "Series": ["x"]}', "{}"):
        paper.properties[4506] = wrong
        with pytest.raises(StateUnreadable, match="4506"):
            ledger_of(paper).read_quality()


def test_one_outline_stands_for_its_series() -> None:
    drawn = replace(COMPARISON.returned, approval="", drawn_at="20260401")
    later = replace(another("1.2.5"), returned=drawn, time=NOON + timedelta(hours=1))
    elsewhere = another("1.2.6", series=orthanc_id("other"), time=NOON - timedelta(hours=1))
    assert cases_of([COMPARISON, later, elsewhere]) == [elsewhere, COMPARISON]
    newer = replace(drawn, approval="APPROVED")
    approved = replace(later, returned=newer)
    assert cases_of([approved, COMPARISON, REFUSED]) == [approved]
    by_another_model = replace(COMPARISON, model_sha256="c" * 64)
    assert len(cases_of([COMPARISON, by_another_model])) == 2
