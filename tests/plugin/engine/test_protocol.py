"""What comes over the pipe is one of our messages, or a ProtocolError."""

from __future__ import annotations

import json
import struct
import tracemalloc
from dataclasses import asdict
from functools import partial
from io import BytesIO
from typing import Any

import pytest

from orthanc_liver.engine.protocol import (
    MODALITIES,
    NEEDS,
    Agreement,
    Allowance,
    BrokerState,
    Compared,
    ComparisonOrder,
    Connect,
    Cut,
    DocumentOrder,
    Done,
    Errand,
    Failed,
    Instance,
    JobSettings,
    Kind,
    Message,
    Order,
    OtherOutline,
    Outcome,
    PartsOrder,
    PipeClosed,
    Preview,
    Progress,
    ProtocolError,
    Rank,
    Ready,
    Recall,
    ResultObject,
    Unsure,
    read,
    read_instances,
    with_needs,
    write,
)

SETTINGS = JobSettings(7, 2048, "Leber", (1, 2, 3), "für die Durchsicht", (Kind.RTSTRUCT, Kind.SR))
REPORT = {
    "liver_ml": 1500.5,
    "warnings": ["one"],
    "seconds": {"read": 1, "infer": 2.5},
    "grade": "look",
    "look_at": [{"slices": [41, 66], "ml": 12.3}],
    "lungs": {"ml": 4100.0, "kg": 0.9},
    "new": [{}],
}
LASSOS = Cut(lassos=(((0.5,) * 9, (1.5,) * 12), ((2.5,) * 9,)))
MESSAGES: list[Message] = [
    Order("j", 3, SETTINGS),
    DocumentOrder(
        *("j", 3, SETTINGS, "1.2", "net", "ab", "look", ("one",), ((3, 3), (5, 9))),
        {"Inputs": [{"Value": None}]},
        "sheet",
        b"\0rt",
    ),
    ComparisonOrder("j", 3, SETTINGS, "liver", b"\0rt"),
    PartsOrder("j", 3, SETTINGS, "1.2", "net", "ab", Cut((1.5, -2.0, 3.0)), "Ada", b"\0rt"),
    PartsOrder("j", 3, SETTINGS, "1.2", "net", "ab", LASSOS, "", b"\0rt"),
    OtherOutline("j", b"seg"),
    Instance("j", b"x" * 3_000_000),
    Connect("amqp://worker@broker:5672/liver", "secret", "", "north"),
    Errand("j", Rank.BACKFILL, b'{"protocol": 1}'),
    Recall("j"),
    BrokerState("", 3, 1),
    Ready("1.2", "net", "ab", "cpu"),
    Failed("no weights"),
    Progress("j", "infer", 0.25),
    ResultObject("j", Kind.SEG, b"seg"),
    Preview("j", b""),
    Unsure("j", b"{}"),
    Compared("j", Agreement(0.9, None, 1.1, 1.1, 1650.0, 1500.0, 7, 3.5, ("a gap",))),
    Done("j", Outcome.SEGMENTED, "", REPORT),
    Done("j", Outcome.SEGMENTED, "", {"parts_ml": {"Right lobe": 900.0}}),
    Done("j", Outcome.REFUSED, "müde", None),
]


def pipe_with(*messages: Message) -> BytesIO:
    pipe = BytesIO()
    for message in messages:
        write(pipe, message)
    pipe.seek(0)
    return pipe


def test_what_is_written_is_read() -> None:
    pipe = pipe_with(*MESSAGES)
    assert [read(pipe) for _ in MESSAGES] == MESSAGES
    with pytest.raises(PipeClosed):
        read(pipe)


@pytest.mark.parametrize(
    "told",
    [
        {"grade": "certain"},
        {"grade": 1},
        {"look_at": {}},
        {"lungs": 0.9},
        {"parts_ml": [900.0]},
        {"parts_ml": {"Right lobe": "900"}},
        {"look_at": [{"ml": 3}]},
        {"look_at": [{"slices": [3]}]},
        {"look_at": [{"slices": [4, 3]}]},
        {"look_at": [{"slices": ["1", "2"]}]},
    ],
)
def test_a_report_with_a_doubt_that_is_none_is_no_message(told: dict[str, Any]) -> None:
    head = {**DONE, "outcome": "segmented"}
    with pytest.raises(ProtocolError):
        read(raw(json.dumps({**head, "report": told}).encode()))


@pytest.mark.parametrize(
    "wrong", [{"dsc": 1.1}, {"dsc": None}, {"worst_slice": 0}, {"rv": -1.0}, {"mda_mm": "far"}]
)
def test_an_agreement_that_cannot_be_is_no_message(wrong: dict[str, Any]) -> None:
    figures = asdict(Agreement(0.9, 1.5, 1.1, 1.1, 1650.0, 1500.0, 7, 3.5))
    head = {"type": "Compared", "job": "j", "agreement": figures | wrong}
    with pytest.raises(ProtocolError):
        read(raw(json.dumps(head).encode()))


def raw(head: bytes, payload: bytes = b"") -> BytesIO:
    return BytesIO(struct.pack(">IQ", len(head), len(payload)) + head + payload)


PROGRESS: dict[str, Any] = {"type": "Progress", "job": "j", "stage": "infer", "fraction": 0.5}
DONE: dict[str, Any] = {
    "type": "Done",
    "job": "j",
    "outcome": "failed",
    "reason": "",
    "report": {},
    "is_last": False,
    "is_final": False,
}


@pytest.mark.parametrize(
    "head",
    [
        {},
        [],
        {"type": "progress"},
        {"type": ["Progress"]},
        {"type": "JobSettings"},
        {key: value for key, value in PROGRESS.items() if key != "job"},
        PROGRESS | {"more": 1},
        PROGRESS | {"job": 1},
        PROGRESS | {"stage": "a stage that nobody knows"},
        PROGRESS | {"stage": []},
        PROGRESS | {"fraction": "0.5"},
        PROGRESS | {"fraction": True},
        PROGRESS | {"fraction": None},
        PROGRESS | {"job": "\ud800"},
        {"type": "Ready", "version": "1", "model_name": {}, "model_sha256": "", "device": "cpu"},
        {"type": "ResultObject", "job": "j", "kind": "CT"},
        {"type": "ResultObject", "job": "j", "kind": "SEG", "content": "text"},
        DONE | {"outcome": "splendid"},
        DONE | {"report": []},
        DONE | {"report": {"seconds": {"read": "long"}}},
        DONE | {"report": {"seconds": 1}},
        DONE | {"report": {"warnings": [1]}},
        DONE | {"report": {"liver_ml": "much"}},
        DONE | {"report": {"warnings": [""]}},
        DONE | {"report": {"no_liver": {"reason": ""}}},
        DONE | {"report": {"no_liver": {}}},
        DONE | {"report": {"lungs": {"reason": 7}}},
        DONE | {"report": {"deep": json.loads("[" * 300 + "]" * 300)}},
        {"type": "Order", "job": "j", "instances": 1, "settings": {}},
    ],
)
def test_what_is_not_exactly_a_message_is_refused(head: Any) -> None:
    payload = b"content" if "kind" in head and "content" not in head else b""
    with pytest.raises(ProtocolError):
        read(raw(json.dumps(head).encode(), payload))


@pytest.mark.parametrize(
    "text",
    [
        b"no json",
        b"\xff\xfe",
        json.dumps(PROGRESS).replace("0.5", "NaN").encode(),
        json.dumps(PROGRESS).replace("0.5", "1e999").encode(),
        json.dumps(PROGRESS).replace("0.5", "9" * 400).encode(),
        json.dumps(PROGRESS).replace("0.5", "9" * 5000).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_of_ours_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(raw(text))


def test_the_cases_above_are_wrong_in_one_way_only() -> None:
    assert isinstance(read(raw(json.dumps(PROGRESS).encode())), Progress)
    assert isinstance(read(raw(json.dumps(DONE).encode())), Done)
    with pytest.raises(ProtocolError):
        read(raw(json.dumps(PROGRESS).encode(), b"a payload"))


def test_a_length_allocates_nothing_before_as_much_is_there() -> None:
    head = json.dumps({"type": "Instance", "job": "j"}).encode()
    pipe = BytesIO(struct.pack(">IQ", len(head), 4 * 1024**3 - 5000) + head + b"short")
    tracemalloc.start()
    with pytest.raises(PipeClosed):
        read(pipe)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_the_lengths_have_bounds() -> None:
    for lengths in ((2**32 - 1, 0), (10, 2**64 - 1)):
        with pytest.raises(ProtocolError):
            read(BytesIO(struct.pack(">IQ", *lengths)))


def test_what_a_job_may_send_is_added_up() -> None:
    allowance = Allowance(100_000)
    pipe = pipe_with(*(Preview("j", bytes(30_000)) for _ in range(4)))
    for _ in range(3):
        read(pipe, allowance)
    with pytest.raises(ProtocolError):
        read(pipe, allowance)


def test_small_messages_count_for_what_they_become() -> None:
    flood = pipe_with(*(Progress("j", "infer", 0.0) for _ in range(100)))
    with pytest.raises(ProtocolError):
        list(iter(partial(read, flood, Allowance(len(flood.getvalue()))), None))


@pytest.mark.parametrize(
    "second", [Instance("another", b"2"), Order("j", 1, SETTINGS), Preview("j", b"2")]
)
def test_among_the_instances_of_a_job_there_is_nothing_else(second: Message) -> None:
    instances = read_instances(pipe_with(Instance("j", b"1"), second), Order("j", 2, SETTINGS))
    assert next(instances) == b"1"
    with pytest.raises(ProtocolError):
        next(instances)


def test_an_object_brings_what_it_refers_to() -> None:
    assert with_needs(["SR"]) == ("SEG", "SR")
    assert with_needs(["SEG", "RTSTRUCT"]) == ("RTSTRUCT", "SEG")


def test_every_kind_has_a_modality_and_is_made_after_what_it_needs() -> None:
    """Without a modality Orthanc's series of it would not be ours: neither superseded nor sent."""
    assert list(MODALITIES) == list(Kind)
    kinds = list(Kind)
    for kind, needed in NEEDS.items():
        assert all(kinds.index(one) < kinds.index(kind) for one in needed)
