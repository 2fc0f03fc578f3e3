"""What may come at the broker that is no case of ours: each is refused in one clear word."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import amqp
import pytest
from kombu.message import Message

from orthanc_liver.cluster.answers import ending_of, read_answer
from orthanc_liver.cluster.broker import (
    TASK,
    Access,
    answer_queue,
    case_queue,
    declare_answers,
    declare_cases,
    new_app,
    worker_queue,
)
from orthanc_liver.engine.cluster_case import PROTOCOL, Case
from orthanc_liver.engine.protocol import JobSettings, Outcome, Rank
from tests.cluster.conftest import Cluster, check_each_stored_once
from tests.support.patience import wait_for

ID = "6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b715"


class Forger:
    """Somebody else at the broker."""

    def __init__(self, cluster: Cluster) -> None:
        self.app = new_app(Access(cluster.broker.url, cluster.broker.password))
        self.sha256 = cluster.engine_sha256

    @contextmanager
    def answers_to(self, orthanc: str) -> Iterator[Any]:
        """A look into the queue of an Orthanc that is not there."""
        with self.app.connection_for_write() as connection:
            channel = connection.channel()
            declare_cases(channel, self.sha256)
            yield declare_answers(channel, orthanc)

    def send(self, *words: Any, rank: Rank = Rank.ARRIVALS, **headers: str) -> None:
        """Let a worker have it."""
        queue = case_queue(self.sha256, rank)
        task = str(uuid.uuid4())
        self.app.send_task(TASK, args=words, task_id=task, queue=queue, headers=headers)


@pytest.fixture
def forger(cluster: Cluster) -> Forger:
    return Forger(cluster)


def case_of(cluster: Cluster, orthanc: str) -> Case:
    md5 = ("0" * 32,)
    settings = JobSettings()
    model = cluster.engine_sha256
    return Case(
        orthanc,
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        1,
        ID,
        "1.2",
        "1.2.3",
        (ID,),
        md5,
        settings,
        model,
        60,
    )


def reason_of(queue: Any) -> str:
    """Why the case failed that the next answer is of, after the word that it was begun."""
    done = None
    while done is None:
        message: Message = wait_for("an answer", lambda: queue.get(no_ack=True))
        done = ending_of(read_answer(message.body))
    assert done.outcome is Outcome.FAILED
    return done.reason


def test_rubbish_is_put_aside_and_the_worker_goes_on(cluster: Cluster, forger: Forger) -> None:
    host = cluster.start_host("after-rubbish")
    worker = cluster.start_worker("one")
    text = case_of(cluster, "after-rubbish").as_text()
    forged = text.replace(ID, ID[::-1])
    for words in (["rubbish"], [7], [], [text, text], [{"a": 1}], [forged], ["[" * 100_000]):
        forger.send(*words, rank=Rank.PEOPLE, orthanc="after-rubbish")
    check_each_stored_once(host, [host.upload("after rubbish")])
    assert worker.process.poll() is None


BODY = json.dumps([["a case"], {}, {}])
TRACK = {"task": TASK, "id": str(uuid.UUID(int=7)), "argsrepr": ""}
FORGED: list[dict[str, Any]] = [
    {"body": "7", "headers": TRACK},
    {"body": "7"},
    {"body": "[" * 100_000, "headers": TRACK},
    {"body": '[["\\ud800"], {}, {}]', "headers": TRACK},
    {"body": BODY, "headers": {**TRACK, "timelimit": "abc"}},
    {"body": BODY, "headers": {**TRACK, "timelimit": ["a", {}]}},
    {"body": BODY, "headers": {**TRACK, "eta": "soon", "expires": 7}},
    {"body": BODY, "headers": {**TRACK, "id": 7}},
    {"body": BODY, "headers": {**TRACK, "task": ["liver"]}},
    {"body": BODY, "headers": {**TRACK, "compression": "rubbish"}},
    {"body": BODY, "headers": {**TRACK, "compression": "application/x-gzip"}},
    {"body": b"\xff\0", "headers": TRACK, "content_encoding": "rubbish"},
    {"body": BODY, "headers": TRACK, "content_type": "application/x-python-serialize"},
    {"body": BODY, "headers": TRACK, "content_encoding": "hex"},
]


def forge(connection: Any, queue: str, forged: dict[str, Any]) -> None:
    """Send it as it is."""
    words = dict(forged)
    body = words.pop("body")
    message = amqp.Message(
        body if isinstance(body, bytes) else body.encode(),
        application_headers=words.pop("headers", {}),
        **words,
    )
    connection.default_channel.basic_publish(message, routing_key=queue)


@pytest.mark.parametrize("of", ["cases", "workers"])
def test_no_message_ends_or_hangs_a_worker(cluster: Cluster, forger: Forger, of: str) -> None:
    host = cluster.start_host(f"forged-{of}")
    worker = cluster.start_worker("one")
    queues = {
        "cases": case_queue(forger.sha256, Rank.PEOPLE),
        "workers": worker_queue(forger.sha256),
    }
    with forger.app.connection_for_write() as connection:
        for forged in FORGED:
            forge(connection, queues[of].name, forged)
    check_each_stored_once(host, [host.upload(f"after {of} that were forged")])
    assert worker.process.poll() is None


def test_no_answer_stops_an_orthanc(cluster: Cluster, forger: Forger) -> None:
    name = "forged-answers"
    host = cluster.start_host(name)
    series = [host.upload("waits while answers are forged")]
    [job] = wait_for("its job", lambda: host.jobs_of(series[0]))
    wait_for("its case", lambda: host.orthanc.get("/liver/status")["Broker"]["Waiting"] == 1)
    with forger.app.connection_for_write() as connection:
        for forged in FORGED:
            forge(connection, answer_queue(name).name, forged)
        for headers in ({"key": 7, "x-death": "rubbish"}, {"compression": "rubbish", "key": "7"}):
            forge(connection, answer_queue(name).name, {"body": b"", "headers": headers})
    series.append(host.upload("after answers that were forged"))
    cluster.start_worker("one")
    check_each_stored_once(host, series)
    assert [one["ID"] for one in host.jobs_of(series[0])] == [job["ID"]]


def test_who_sends_for_an_unknown_orthanc_or_in_another_version_hears_it(
    cluster: Cluster, forger: Forger
) -> None:
    cluster.start_host("known")
    cluster.start_worker("one")
    with forger.answers_to("unknown") as queue:
        forger.send(case_of(cluster, "unknown").as_text())
        assert "orthancs file has no Orthanc" in reason_of(queue)
    cluster.hosts["known"].orthanc.kill9()
    with forger.answers_to("known") as queue:
        whole = json.loads(case_of(cluster, "known").as_text())
        forger.send(json.dumps(whole | {"protocol": PROTOCOL + 1}))
        assert f"version {PROTOCOL + 1}" in reason_of(queue)
        other = replace(case_of(cluster, "known"), model_sha256="b" * 64)
        forger.send(other.as_text())
        assert "model is not the one" in reason_of(queue)


@pytest.mark.parametrize("step", [-1, 1])
def test_a_worker_of_another_version_leaves_the_cases_to_one_of_ours(
    cluster: Cluster, step: int
) -> None:
    host = cluster.start_host(f"not-of-{PROTOCOL + step}", Retries=0)
    worker = cluster.start_worker("of-another-version", protocol=PROTOCOL + step)
    assert f"cases of version {PROTOCOL + step} of the protocol" in worker.log()
    series = host.upload(f"not for a worker of {PROTOCOL + step}")
    wait_for("its case", lambda: host.orthanc.get("/liver/status")["Broker"]["Waiting"] == 1)
    assert host.orthanc.get("/liver/status")["Broker"]["Workers"] == 0
    cluster.start_worker("of-ours")
    check_each_stored_once(host, [series])


def test_a_case_that_is_sent_again_is_stored_once(cluster: Cluster, forger: Forger) -> None:
    host = cluster.start_host("replayed")
    queue = case_queue(forger.sha256, Rank.ARRIVALS)
    with forger.answers_to("replayed"), forger.app.connection_for_write() as connection:
        series = host.upload("replayed")
        bound = queue(connection.default_channel)
        message: Message = wait_for("the case", lambda: bound.get(no_ack=False))
        [text], *_ = json.loads(message.body)
        message.requeue()
    for _ in range(3):
        forger.send(text)
    before = len(cluster.engine.answers())
    cluster.start_worker("one")
    check_each_stored_once(host, [series])
    # The dispatcher recalls its own where another that is the same was answered first.
    wait_for("the others", lambda: len(cluster.engine.answers()) - before >= 3)
    check_each_stored_once(host, [host.upload("after the replay"), series])
