"""What the dispatcher keeps in mind, and what an answer is; with a broker: tests/cluster."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import pytest

from orthanc_liver.cluster.answers import ending_of, failed, read_answer
from orthanc_liver.cluster.broker import (
    Access,
    BrokerRefused,
    case_queue,
    not_serving,
    refuse_what_never_serves,
)
from orthanc_liver.cluster.dispatcher import Answer, Dispatcher, Errands, Tally
from orthanc_liver.cluster.model import Model
from orthanc_liver.engine.cluster_case import PROTOCOL, Case
from orthanc_liver.engine.protocol import (
    AboutAJob,
    Connect,
    Done,
    DoneBy,
    Errand,
    JobSettings,
    Message,
    Order,
    Outcome,
    Preview,
    Progress,
    ProtocolError,
    Rank,
    read,
    write,
)
from tests.support.certificates import Authority

ID = "6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b715"
JOB = "0f8fad5b-d9cb-469f-a165-70867728950e"
CASE = Case("north", JOB, 1, ID, "1.2", "1.2.3", (ID,), ("0" * 32,), JobSettings(), "a" * 64, 60)


def asked_for(case: Case = CASE) -> Errands:
    """One errand, which the broker has as task 7."""
    errands = Errands()
    key = errands.add(Errand(case.job, Rank.ARRIVALS, case.as_text().encode()))
    errands.by_key[key].task, errands.by_key[key].is_sent = "7", True
    return errands


def test_what_was_answered_by_its_own_task_is_over() -> None:
    errands = asked_for()
    errands.end(CASE.key, "7")
    assert (errands.by_key, errands.to_revoke) == ({}, [])


def test_where_another_task_answered_or_may_still_run_ours_is_revoked() -> None:
    other, shaken, recalled = asked_for(), asked_for(), asked_for()
    other.end(CASE.key, "6")
    shaken.shake()
    shaken.end(CASE.key, "7")
    recalled.recall(CASE.job)
    recalled.recall("another")
    for errands in (other, shaken, recalled):
        assert (errands.by_key, errands.to_revoke) == ({}, ["7"])


def test_what_the_broker_has_not_confirmed_or_has_lost_is_sent_again() -> None:
    unconfirmed, kept = asked_for(), asked_for()
    kept.by_key[CASE.key].is_kept = True
    for errands in (unconfirmed, kept):
        errands.shake()
    assert not unconfirmed.by_key[CASE.key].is_sent
    assert kept.by_key[CASE.key].is_sent
    kept.send_again()
    assert not kept.by_key[CASE.key].is_sent
    assert kept.by_key[CASE.key].task == "7"


@pytest.mark.parametrize(
    ("heard", "unheard"),
    [("a", 1), ("aaaa", 1), ("abc", 3), ("aabbcc", 3), ("abab", 1), ("abcabc", 1), ("abcb", 2)],
)
def test_who_is_heard_of_after_another_began_was_not_lost(heard: str, unheard: int) -> None:
    [asked] = asked_for().by_key.values()
    for child in heard:
        asked.note(child)
    asked.note("")  # a worker that does not say it
    assert asked.unheard == unheard


class Clock:
    """The dispatcher's; a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr("orthanc_liver.cluster.dispatcher.time", one)
    return one


def word_of(dispatcher: Dispatcher, child: str) -> None:
    """A worker's child says that it is at CASE."""
    headers = {"key": CASE.key, "protocol": PROTOCOL, "child": child}
    dispatcher._hear(Mock(headers=headers, body=packed(Progress(CASE.job, "infer", 0.5))))


def put_aside(dispatcher: Dispatcher) -> None:
    """The broker's delivery limit is reached."""
    task = dispatcher._errands.by_key[CASE.key].task
    headers = {"key": CASE.key, "id": task, "x-death": [], "x-first-death-reason": "delivery_limit"}
    dispatcher._hear(Mock(headers=headers, body=b""))


@pytest.mark.parametrize("heard_again", ["", "a", "ab"])
def test_who_had_a_case_is_given_time_for_a_word_before_it_counts_as_lost(
    clock: Clock, heard_again: str
) -> None:
    dispatcher, pipe = dispatcher_of(CASE)
    [asked] = dispatcher._errands.by_key.values()
    asked.is_sent = asked.is_kept = True
    for child in "abc":
        word_of(dispatcher, child)
    put_aside(dispatcher)
    clock.now_s += 29.0
    for child in heard_again:
        word_of(dispatcher, child)
    dispatcher._judge()
    assert (list(dispatcher._errands.by_key), asked.is_sent) == ([CASE.key], True)
    clock.now_s += 2.0
    dispatcher._judge()
    if heard_again:
        assert (list(dispatcher._errands.by_key), asked.is_sent) == ([CASE.key], False)
        return
    done = pipe.heard()[-1]
    assert isinstance(done, Done)
    assert ("every worker that had it was lost" in done.reason, done.is_final) == (True, True)


def test_a_case_that_nobody_lost_is_sent_again_at_once_and_while_nobody_can_be_heard_none_is_judged(
    clock: Clock,
) -> None:
    dispatcher, _ = dispatcher_of(CASE)
    [asked] = dispatcher._errands.by_key.values()
    for child in "aba":
        word_of(dispatcher, child)
    put_aside(dispatcher)
    assert not asked.is_sent
    for child in "cde":
        word_of(dispatcher, child)
    put_aside(dispatcher)
    clock.now_s += 31.0
    dispatcher._shake()
    dispatcher._judge()
    assert list(dispatcher._errands.by_key) == [CASE.key]


EMPTY = dict.fromkeys(Rank, 0)


@pytest.mark.parametrize(
    ("rank", "is_begun", "gone_after_s"),
    [(Rank.ARRIVALS, False, 60), (Rank.BACKFILL, False, 120), (Rank.PEOPLE, True, 120)],
)
def test_what_lies_nowhere_and_nobody_has_is_sent_again(
    clock: Clock, rank: Rank, is_begun: bool, gone_after_s: int
) -> None:
    dispatcher, _ = dispatcher_of(CASE)
    [asked] = dispatcher._errands.by_key.values()
    task, asked.rank, asked.is_sent, asked.is_kept = asked.task, rank, True, True
    for waits in (EMPTY | {rank: 1}, EMPTY):
        asked.is_there_at_s = clock.now_s
        clock.now_s += gone_after_s - 1.0
        if is_begun:
            word_of(dispatcher, "a")
            clock.now_s += gone_after_s - 1.0
        dispatcher._look_for_what_is_gone(waits)
        assert asked.is_sent
    clock.now_s += 2.0
    dispatcher._look_for_what_is_gone(EMPTY)
    assert (asked.is_sent, asked.task, asked.is_shaken) == (False, task, True)


def packed(*messages: Message) -> bytes:
    body = BytesIO()
    for message in messages:
        write(body, message)
    return body.getvalue()


class Pipe(BytesIO):
    """What the dispatcher tells Orthanc."""

    def heard(self) -> list[Message]:
        self.seek(0)
        messages = []
        while self.tell() < len(self.getvalue()):
            messages.append(read(self))
        return messages


def dispatcher_of(*asked: Case) -> tuple[Dispatcher, Pipe]:
    """One that has these errands and no broker."""
    pipe = Pipe()
    connect = Connect("amqp://north@127.0.0.1:1/liver", "s3cret", "", "north")
    dispatcher = Dispatcher(connect, Model("a model", "a" * 64), pipe)
    for case in asked:
        dispatcher._inbox.put(Errand(case.job, Rank.ARRIVALS, case.as_text().encode()))
    dispatcher._take_inbox()
    return dispatcher, pipe


def test_a_case_that_is_too_long_fails_alone() -> None:
    many = tuple(f"{n:08x}-00000000-00000000-00000000-00000000" for n in range(60_000))
    longest = replace(CASE, instances=many, md5=("0" * 32,) * len(many))
    dispatcher, pipe = dispatcher_of(longest, CASE)
    [done] = pipe.heard()
    assert isinstance(done, Done)
    assert (done.outcome, done.is_final) == (Outcome.FAILED, True)
    assert "too long" in done.reason
    assert list(dispatcher._errands.by_key) == [CASE.key]


def grown() -> bytes:
    """An answer that is within all limits as it came, and longer when it is told again."""
    head: dict[str, object] = {"type": "Done", "job": JOB, "outcome": "failed"}
    head |= {"reason": "ü" * 100_000, "report": None, "is_last": False, "is_final": False}
    text = json.dumps(head, ensure_ascii=False).encode()
    return struct.pack(">IQ", len(text), 0) + text


@pytest.mark.parametrize(
    "body",
    [b"rubbish", "text", packed(failed(JOB, "once"), failed(JOB, "twice")), grown()],
    ids=["rubbish", "text", "two ends", "grows"],
)
def test_whatever_answers_ends_one_attempt_and_nothing_else(body: object) -> None:
    dispatcher, pipe = dispatcher_of(CASE)
    message = Mock(headers={"key": CASE.key, "protocol": PROTOCOL}, body=body)
    dispatcher._hear(message)
    message.channel.basic_ack.assert_called_once()
    [done] = pipe.heard()
    assert isinstance(done, Done)
    assert done.outcome is Outcome.FAILED
    assert not dispatcher._errands.by_key


@pytest.mark.parametrize("headers", [None, {}, {"key": 7}, {"key": "7", "x-death": 3}, 7])
def test_a_message_for_nobody_is_settled(headers: object) -> None:
    dispatcher, pipe = dispatcher_of(CASE)
    message = Mock(headers=headers, body=b"")
    dispatcher._hear(message)
    message.channel.basic_ack.assert_called_once()
    assert pipe.heard() == []
    assert list(dispatcher._errands.by_key) == [CASE.key]


def test_of_answers_that_nobody_asked_for_the_last_are_held() -> None:
    errands = Errands()
    for number in range(100):
        errands.hold(str(number), Answer("", b""))
    assert list(errands.held) == [str(number) for number in range(36, 100)]


def test_each_workers_cases_and_seconds_are_counted_and_no_endless_list_of_names() -> None:
    tally = Tally()
    for seconds in (2.5, 4):
        tally.note(Answer.of({"worker": "1@gpu", "seconds": seconds}, b""))
    tally.note(Answer.of({"worker": "1@gpu", "seconds": float("nan")}, b""))
    for name in ('a"b', "", 7, None):
        tally.note(Answer.of({"worker": name, "seconds": 1.0}, b""))
    assert list(tally.by_worker.values()) == [DoneBy("1@gpu", 3, 6.5)]
    for number in range(300):
        tally.note(Answer.of({"worker": f"{number}@gpu"}, b""))
    assert len(tally.by_worker) == 256


def test_an_answer_is_read_whole() -> None:
    messages: list[AboutAJob] = [Preview(JOB, b"png"), failed(JOB, "why")]
    assert read_answer(packed(*messages)) == messages
    assert ending_of(read_answer(packed(*messages))) == messages[1]
    assert ending_of(read_answer(packed(messages[0]))) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"rubbish", b"\0" * 99, packed(failed("1", ""))[:-1]),
        *(packed(Order("1", 2, JobSettings())), packed(failed("1", "1"), failed("1", "2"))),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_answer(body)


def test_models_and_ranks_share_no_queue() -> None:
    names = {case_queue(sha256, rank).name for sha256 in ("a" * 64, "b" * 64) for rank in Rank}
    assert len(names) == 6


@pytest.mark.parametrize(
    "url",
    [
        *("redis://u@host/0", "amqp://host/liver", "amqps://u:s3cret@host/liver", "amqp:///x"),
        *("host", "amqps://u@host:99999/liver", "amqps://u@host:x/liver", "amqps://u@[host/liver"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(BrokerRefused) as refused:
        Access(url, "s3cret")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), ("", "holds no"), ("-- a key --", "holds no")]
)
def test_a_file_that_names_no_authority_is_not_a_broker_that_is_away(
    tmp_path: Path, content: str | None, why: str
) -> None:
    file = tmp_path / "hospital.pem"
    if content is not None:
        file.write_text(content)
    access = Access("amqps://liver@127.0.0.1:1/liver", "s3cret", str(file))
    with pytest.raises(BrokerRefused, match=f"{re.escape(str(file))} .*{why}"):
        refuse_what_never_serves(access, "a" * 64)
    assert str(file) in not_serving(access, OSError("anything"))


def test_a_broker_that_is_away_is_waited_for_whoever_signed(tmp_path: Path) -> None:
    file = Authority(tmp_path / "believed").ca_file
    access = Access("amqps://liver@127.0.0.1:1/liver", "s3cret", str(file))
    refuse_what_never_serves(access, "a" * 64)
    assert "does not serve" in not_serving(access, ConnectionRefusedError(111, "refused"))
    refuse_what_never_serves(replace(access, ca_file=""), "a" * 64)


def test_where_a_broker_hangs_up_without_tls_amqps_is_named() -> None:
    access = Access("amqp://liver@127.0.0.1:5671/liver", "s3cret")
    hung_up = (ConnectionResetError(104, "reset"), OSError("Server unexpectedly closed connection"))
    for error in hung_up:
        assert "amqps://" in not_serving(access, error)
    assert "amqps://" not in not_serving(access, ConnectionRefusedError(111, "refused"))
    by_tls = replace(access, url="amqps://liver@127.0.0.1:5671/liver")
    assert "begins with" not in not_serving(by_tls, hung_up[0])


def test_the_password_is_in_the_whole_url_alone() -> None:
    access = Access("amqps://liver@broker.example:5671/liver", "p@ss/:ü")
    assert access.place == "broker.example:5671"
    assert access.whole_url == "amqps://liver:p%40ss%2F%3A%C3%BC@broker.example:5671/liver"
    assert access.tls is not None
    assert replace(access, url="amqp://liver@broker.example/liver").tls is None
