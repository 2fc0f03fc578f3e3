"""A server is told how jobs ended: signed, without the patient, until it answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import pytest

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.delivery import webhook as webhook_module
from orthanc_liver.host.delivery.webhook import Webhook
from orthanc_liver.host.jobs.job import Job, State
from tests.plugin.host.conftest import FakeHost
from tests.plugin.host.paper import Paper, orthanc_id
from tests.support.patience import wait_for

SHARED = "0123456789abcdef"
SETTING = {"Url": "https://hook.example:8443/liver?to=us", "Secret": SHARED}


class Receiver:
    """Answers with these statuses, one after the other, then with 204."""

    def __init__(self, *statuses: int | Exception) -> None:
        self.statuses = list(statuses)
        self.told: list[dict[str, Any]] = []

    def __call__(self, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
        assert (url.hostname, url.port, url.query) == ("hook.example", 8443, "to=us")
        expected = hmac.new(SHARED.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Liver-Signature"] == f"sha256={expected}"
        self.told.append(json.loads(body))
        status = self.statuses.pop(0) if self.statuses else 204
        if isinstance(status, Exception):
            raise status
        return status


def ended(name: str, outcome: Outcome, **report: Any) -> Job:
    job = Job(orthanc_id(name), orthanc_id("study"), "key", state=State.FAILURE, outcome=outcome)
    job.reason, job.completed, job.report = "Secret^Patient", job.created, report
    return job


def webhook_of(paper: Paper, receiver: Receiver, **setting: str) -> Webhook:
    like_orthanc: Any = paper
    one = Webhook(like_orthanc, setting or SETTING, receiver)
    one.restore()
    return one


def test_each_end_is_told_once_without_the_patient() -> None:
    receiver = Receiver()
    webhook = webhook_of(Paper(), receiver)
    outcomes = [one for one in Outcome if one is not Outcome.CANCELLED]
    for outcome in Outcome:
        webhook.note(ended(str(outcome), outcome, liver_ml=1500.5))
    webhook.note(ended("doubt", Outcome.SEGMENTED, grade="doubtful", liver_ml=900.0))
    while webhook.count():
        webhook._turn()
    assert [one["Event"] for one in receiver.told] == [*map(str, outcomes), "doubtful"]
    assert receiver.told[0]["LiverMl"] == 1500.5
    assert "Secret" not in str(receiver.told)


@pytest.mark.parametrize("trouble", [500, 302, 404, ConnectionRefusedError("10.0.0.5")])
def test_what_does_not_arrive_is_told_again_in_order_and_over_a_restart(trouble: Any) -> None:
    paper, receiver = Paper(), Receiver(trouble)
    webhook = webhook_of(paper, receiver)
    webhook.note(ended("first", Outcome.FAILED))
    webhook.note(ended("second", Outcome.REFUSED))
    assert webhook._turn() == 2.0
    assert 0 < webhook._turn() <= 2.0  # it rests
    assert [one["Event"] for one in receiver.told] == ["failed"]
    assert webhook.count() == 2
    [said] = paper.said
    assert "10.0.0.5" not in said
    again = webhook_of(paper, receiver)
    while again.count():
        again._turn()
    assert [one["Event"] for one in receiver.told] == ["failed", "failed", "refused"]
    assert webhook_of(paper, receiver).count() == 0


def test_the_oldest_are_dropped_and_none_waits_without_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_module, "_MOST", 5)
    paper: Any = Paper()
    webhook = webhook_of(paper, Receiver())
    for n in range(8):
        webhook.note(ended(str(n), Outcome.FAILED))
    assert webhook.count() == 5
    without = Webhook(paper, {})
    without.restore()
    without.note(ended("one", Outcome.FAILED))
    assert without.count() == 0


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes]]]:
    """A server on loopback and what was posted to it."""
    bodies: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    one = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{one.server_port}/told", bodies
    one.shutdown()
    one.server_close()


def test_in_an_orthanc(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    url, bodies = server
    host = FakeHost(tmp_path, Webhook={"Url": url, "Secret": SHARED})
    with host.orthanc:
        host.ready()
        job = host.ended_job_of(host.upload("told of"))
        [body] = wait_for("what is told", lambda: bodies)
        assert json.loads(body)["Job"] == job["ID"]
        assert json.loads(body)["Event"] == "segmented"
        assert host.orthanc.get("/liver/status")["Threads"]["webhook"] == "running"
