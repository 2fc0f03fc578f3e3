"""What the dispatcher keeps in mind, and what an answer is; with a broker: tests/cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from orthanc_liver.cluster.answers import ending_of, failed, read_answer
from orthanc_liver.cluster.broker import (
    Access,
    BrokerRefused,
    case_queue,
    not_serving,
    refuse_what_never_serves,
)
from orthanc_liver.cluster.dispatcher import Answer, Errands, Tally
from orthanc_liver.engine.case import Case
from orthanc_liver.engine.protocol import (
    AboutAJob,
    DoneBy,
    Errand,
    JobSettings,
    Message,
    Order,
    Preview,
    ProtocolError,
    Rank,
    write,
)
from tests.support.certificates import Authority

ID = "6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b715"
CASE = Case("north", "1234", 1, ID, "1.2", "1.2.3", (ID,), ("0" * 32,), JobSettings(), "a" * 64, 60)


def asked_for(case: Case = CASE) -> Errands:
    """One errand, which the broker has as task 7."""
    errands = Errands()
    key = errands.add(Errand(case.job, Rank.ARRIVALS, case.as_text().encode()))
    errands.by_key[key].task = "7"
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


def packed(*messages: Message) -> bytes:
    body = BytesIO()
    for message in messages:
        write(body, message)
    return body.getvalue()


def test_an_answer_is_read_whole() -> None:
    messages: list[AboutAJob] = [Preview("1234", b"png"), failed("1234", "why")]
    assert read_answer(packed(*messages)) == messages
    assert ending_of(read_answer(packed(*messages))) == messages[1]
    assert ending_of(read_answer(packed(messages[0]))) is None


@pytest.mark.parametrize(
    "body",
    [b"rubbish", packed(failed("1", ""))[:-1], packed(Order("1", 2, JobSettings())), b"\0" * 99],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_answer(body)


def test_models_and_ranks_share_no_queue() -> None:
    names = {case_queue(sha256, rank).name for sha256 in ("a" * 64, "b" * 64) for rank in Rank}
    assert len(names) == 6


@pytest.mark.parametrize(
    "url",
    ["redis://u@host/0", "amqp://host/liver", "amqps://u:s3cret@host/liver", "amqp:///x", "host"],
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
        refuse_what_never_serves(access)
    assert str(file) in not_serving(access, OSError("anything"))


def test_a_broker_that_is_away_is_waited_for_whoever_signed(tmp_path: Path) -> None:
    file = Authority(tmp_path / "believed").ca_file
    access = Access("amqps://liver@127.0.0.1:1/liver", "s3cret", str(file))
    refuse_what_never_serves(access)
    assert "does not serve" in not_serving(access, ConnectionRefusedError(111, "refused"))
    refuse_what_never_serves(replace(access, ca_file=""))


def test_the_password_is_in_the_whole_url_alone() -> None:
    access = Access("amqps://liver@broker.example:5671/liver", "p@ss/:ü")
    assert access.place == "broker.example:5671"
    assert access.whole_url == "amqps://liver:p%40ss%2F%3A%C3%BC@broker.example:5671/liver"
    assert access.tls is not None
    assert replace(access, url="amqp://liver@broker.example/liver").tls is None
