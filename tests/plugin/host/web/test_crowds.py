"""Many clients at once: they share what is the same for all, and leave threads for others."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import requests

from orthanc_liver.host import plugin
from orthanc_liver.host.activity import documents
from orthanc_liver.host.errors import NoResult, NothingStored
from orthanc_liver.host.web import shared_answer
from orthanc_liver.host.web.routes import Routes
from orthanc_liver.host.web.shared_answer import SharedAnswer
from tests.plugin.host.conftest import FakeHost, Host, error_of
from tests.support.fake_archive import OrthancException
from tests.support.fake_orthanc import Answer
from tests.support.patience import patience_s, wait_for

CLIENTS = 40


class Clock:
    """Time that passes by being asked for, and tells how often it was."""

    def __init__(self) -> None:
        self.asked = 0
        self._lock = threading.Lock()

    def monotonic_ns(self) -> int:
        with self._lock:
            self.asked += 1
            return self.asked


def test_who_asks_for_the_jobs_while_they_are_rendered_shares_the_next_rendering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, go_on, rendered = Clock(), threading.Event(), itertools.count(1)
    monkeypatch.setattr(shared_answer, "time", clock)

    def show_all() -> list[dict[str, Any]]:
        number = next(rendered)
        assert go_on.wait(patience_s(30))
        return [{"ID": number, "Content": {}}]

    queue = SimpleNamespace(show_all=show_all)
    reviews = Mock(show=lambda job: None)
    deliveries = Mock(show_by_job=lambda jobs: {job: [] for job in jobs})
    routes = Routes(Mock(queue=queue, deliveries=deliveries, reviews=reviews))

    def ask(_: int) -> int:
        answer: Any = Answer()
        asked = {"method": "GET", "groups": ("jobs",), "get": {"expand": ""}}
        routes.answer(answer, "/liver/jobs", **asked)
        [job] = json.loads(answer.response.content)
        return int(job["ID"])

    with ThreadPoolExecutor(CLIENTS) as clients:
        first = clients.submit(ask, 0)
        try:
            wait_for("the first rendering", lambda: clock.asked == 2)
            others = [clients.submit(ask, number) for number in range(1, CLIENTS)]
            wait_for("all of them", lambda: clock.asked == CLIENTS + 1)
        finally:
            go_on.set()
        assert first.result() == 1
        assert {one.result() for one in others} == {2}
    assert ask(0) == 3, "nobody is told what was so before he asked"


def test_a_rendering_that_fails_is_nobodys_answer() -> None:
    answer = SharedAnswer(Mock(side_effect=["old", RuntimeError("a slip"), "new"]))
    assert answer.get() == "old"
    with pytest.raises(RuntimeError):
        answer.get()
    assert answer.get() == "new"


def test_nobody_waits_for_a_start_that_is_in_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each who waited would hold one of the threads that answer all of Orthanc's HTTP."""
    monkeypatch.setattr(plugin, "_START_TIMEOUT_S", 3600.0)
    host = FakeHost(tmp_path)
    with ThreadPoolExecutor(1) as client, monkeypatch.context() as away:
        away.setattr(host.orthanc.archive, "rest", Mock(side_effect=OrthancException(11, "away")))
        host.orthanc.start()
        asked = client.submit(host.orthanc.call, "GET", "/liver/jobs")
        assert error_of(asked.result(patience_s(5)))[0] == 503
        assert host.orthanc.get("/liver/status")["Threads"]["start"] != "running"
    host.orthanc.stop()


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
@pytest.mark.parametrize("asked", ["outlines", "outline", "activity"])
def test_only_eight_wait_for_outlines(
    host: Host, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one may take seconds, and each who waits holds one of Orthanc's HTTP threads."""
    go_on, begun = threading.Event(), threading.Event()

    def read(*_: Any) -> Any:
        begun.set()
        assert go_on.wait(patience_s(30))
        raise NoResult("this is a test")

    for name in ("outlines_of", "outline_text", "activity_of_series"):
        monkeypatch.setattr(plugin, name, read)
    series_id = host.upload(f"a crowd for {asked}")
    method = "POST" if asked == "activity" else "GET"

    def ask(_: int) -> int:
        body = b'{"Method": "resin"}' if method == "POST" else b""
        return host.orthanc.call(method, f"/liver/series/{series_id}/{asked}", body).status_code

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = [clients.submit(ask, number) for number in range(CLIENTS)]
        try:
            assert begun.wait(patience_s(30))
            turned_away = CLIENTS - plugin._OUTLINES_ASKED_FOR
            wait_for("those", lambda: sum(one.done() for one in answers) == turned_away)
        finally:
            go_on.set()
        assert Counter(one.result() for one in answers) == {503: turned_away, 409: 8}


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_only_two_wait_for_documents_and_the_others_are_told_to_come_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = threading.Event(), []

    def written(*_: Any) -> Any:
        begun.append(time.monotonic())
        assert go_on.wait(patience_s(30))
        raise NothingStored("nothing was stored: this is a test")

    monkeypatch.setattr(documents, "process_for_one_order", written)
    series_id = host.upload("a crowd")
    host.ended_job_of(series_id)
    route = f"/liver/series/{series_id}/activity"
    given = {"Method": "resin", "TumourMl": 20, "HeightM": 1.75, "WeightKg": 70}

    def ask(store: list[str]) -> requests.Response:
        return host.orthanc.call("POST", route, json.dumps({**given, "Store": store}).encode())

    with ThreadPoolExecutor(2) as clients:
        held = [clients.submit(ask, ["SR"]) for _ in range(2)]
        try:
            wait_for("two", lambda: begun and documents._gate._places._value == 0)
            third, without_store = ask(["SR"]), ask([])
        finally:
            go_on.set()
        assert error_of(third)[0] == 503
        assert int(third.headers["Retry-After"]) > 0
        assert without_store.status_code == 200
        assert [one.result().status_code for one in held] == [500, 500]
    assert ask(["SR"]).status_code == 500, "there is room again, whatever the others came to"
