"""A case crosses the broker whole, and whatever else comes there is refused in one clear word."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_liver.engine.cluster_case import (
    PROTOCOL,
    AnotherProtocol,
    Case,
    NoCase,
    read_case,
    uid_or_none,
)
from orthanc_liver.engine.protocol import AboutAJob, JobSettings, Kind

ID = "6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b715"
OTHER_ID = "11111111-22222222-33333333-44444444-55555555"
CASE = Case(
    orthanc="north",
    job="0f8fad5b-d9cb-469f-a165-70867728950e",
    attempt=2,
    series=ID,
    study_uid="1.2.826.7",
    series_uid="1.2.826.7.9",
    instances=(ID, OTHER_ID),
    md5=("0" * 32, "f" * 32),
    settings=JobSettings(7, 2048, "Leber", (1, 2, 3), "für die Durchsicht", (Kind.RTSTRUCT,)),
    model_sha256="a" * 64,
    limit_s=3600,
)


def test_what_is_written_is_read() -> None:
    assert read_case(CASE.as_text()) == CASE


def test_a_series_without_a_proper_uid_is_a_case_too() -> None:
    odd = replace(CASE, study_uid=uid_or_none("1.2.3"), series_uid=uid_or_none("../x"))
    assert (odd.study_uid, odd.series_uid) == ("1.2.3", "")
    assert read_case(odd.as_text()) == odd


def test_the_same_case_has_the_same_key_and_another_one_another() -> None:
    others = [
        replace(CASE, attempt=3),
        replace(CASE, md5=("0" * 32, "e" * 32)),
        replace(CASE, orthanc="south"),
        replace(CASE, settings=JobSettings()),
    ]
    assert replace(CASE).key == CASE.key
    assert len({CASE.key, *(one.key for one in others)}) == 5


def test_what_it_carries_changes_with_the_protocols_number_alone() -> None:
    """A worker of another version would take the same number for rubbish."""
    kinds = (Case, JobSettings, *get_args(AboutAJob))
    shape = [(kind.__name__, one.name, str(one.type)) for kind in kinds for one in fields(kind)]
    digest = hashlib.sha256(repr(shape).encode()).hexdigest()[:16]
    assert (PROTOCOL, digest) == (1, "546912054bb85615")


def test_a_message_of_2000_slices_is_small() -> None:
    ids = tuple(f"{n:08x}-00000000-00000000-00000000-00000000" for n in range(2000))
    assert len(replace(CASE, instances=ids, md5=("0" * 32,) * 2000).as_text()) < 200_000


@pytest.mark.parametrize("protocol", [PROTOCOL - 1, PROTOCOL + 1])
def test_another_version_is_told_with_whom_it_concerns(protocol: int) -> None:
    whole = json.loads(CASE.as_text())
    text = json.dumps(whole | {"protocol": protocol, "case": {"job": CASE.job, "new": 1}, "x": 2})
    with pytest.raises(AnotherProtocol, match=f"version {protocol}") as refused:
        read_case(text)
    assert (refused.value.orthanc, refused.value.key) == ("north", CASE.key)
    assert refused.value.job == CASE.job


@pytest.mark.parametrize(
    "change",
    [
        {"orthanc": "north/../south"},
        {"orthanc": "n" * 65},
        {"job": "../etc"},
        {"attempt": 0},
        {"attempt": True},
        {"series": "a/b"},
        {"study_uid": "1.2/../3"},
        {"series_uid": "1." * 40},
        {"instances": []},
        {"instances": [ID]},
        {"instances": [ID, ID]},
        {"instances": [ID, f"{ID}/../.."]},
        {"md5": ["0" * 32, "0" * 31]},
        {"settings": {}},
        {"model_sha256": "A" * 64},
        {"limit_s": 0},
        {"limit_s": None},
        {"secret": "x"},
    ],
)
def test_a_case_that_is_wrong_in_one_field_is_refused(change: dict[str, Any]) -> None:
    whole = json.loads(CASE.as_text())
    whole["case"] |= change
    with pytest.raises(NoCase):
        read_case(json.dumps(whole))


@pytest.mark.parametrize(
    "change", [{"key": "0" * 64}, {"orthanc": "south"}, {"protocol": "1"}, {"further": 1}]
)
def test_what_surrounds_a_case_must_belong_to_it(change: dict[str, Any]) -> None:
    with pytest.raises(NoCase):
        read_case(json.dumps(json.loads(CASE.as_text()) | change))


def test_a_case_that_was_changed_on_the_way_is_refused() -> None:
    whole = json.loads(CASE.as_text())
    whole["case"]["series"] = OTHER_ID
    with pytest.raises(NoCase, match="key"):
        read_case(json.dumps(whole))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_WHOLE = json.loads(CASE.as_text())


@given(st.text() | _JSON.map(json.dumps) | st.integers().map(lambda n: "[" * (abs(n) % 100_000)))
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(NoCase):
        read_case(text)


@given(st.sampled_from(sorted(_WHOLE)), _JSON)
def test_rubbish_in_one_field_is_refused(field: str, value: Any) -> None:
    if value != _WHOLE[field] or type(value) is not type(_WHOLE[field]):
        with pytest.raises((NoCase, AnotherProtocol)):
            read_case(json.dumps(_WHOLE | {field: value}))


@given(st.sampled_from(sorted(asdict(CASE))), _JSON)
def test_rubbish_in_one_field_of_the_case_is_refused(field: str, value: Any) -> None:
    case = _WHOLE["case"]
    if value != case[field] or type(value) is not type(case[field]):
        with pytest.raises(NoCase):
            read_case(json.dumps(_WHOLE | {"case": case | {field: value}}))


@given(st.integers(0, len(CASE.as_text()) - 1), st.characters())
def test_one_other_character_is_refused_or_changes_nothing(at: int, character: str) -> None:
    text = CASE.as_text()
    with suppress(NoCase, AnotherProtocol):
        assert read_case(text[:at] + character + text[at + 1 :]) == CASE
