"""Which case a worker takes next and which it holds; with a broker: tests/cluster/test_order.py."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from celery.platforms import check_privileges
from celery.worker import state

from orthanc_liver.cluster import worker
from orthanc_liver.cluster.worker import NameRefused, TakeInOrder, _warn_root, serve


class Case:
    """A message; was_lost: a worker had it before."""

    def __init__(self, name: str, *, was_lost: bool = False) -> None:
        self.name = name
        self.delivery_info = {"redelivered": was_lost}
        self.headers = {"id": name}

    def decode(self) -> Any:
        return [[self.name], {}, {}]

    def ack_log_error(self, *_: Any) -> None:
        """The broker may forget it."""

    acknowledged = False

    def reject(self) -> None:
        """The broker puts it aside."""
        self.acknowledged = True


class Queue:
    """What waits at the broker."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def get(self) -> Case | None:
        return self.cases.pop(0) if self.cases else None

    def queue_declare(self, *, passive: bool) -> Any:
        assert passive
        return SimpleNamespace(message_count=len(self.cases))


class Scene:
    """A worker before three queues."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.people, self.arrivals, self.backfill = self.queues = [Queue(), Queue(), Queue()]
        self.at_work: list[Case] = []
        self.told: list[str] = []
        self.cancelled: set[str] = set()
        monkeypatch.setattr(state, "revoked", self.cancelled)
        monkeypatch.setattr(worker, "_got", lambda queue: queue.get())
        monkeypatch.setattr(worker, "declare_cases", lambda *_: self.queues)
        monkeypatch.setattr(worker, "_AHEAD_LOOKS_EVERY_S", 0.0)
        monkeypatch.setattr(worker, "_IDLE_LOOKS_EVERY_S", 0.0)
        monkeypatch.setattr(state, "reserved_requests", self.at_work)
        ours = {"model_sha256": "a" * 64, "ahead": SimpleNamespace(tell=self.told.append)}
        self.step = type("Step", (TakeInOrder,), ours)(Mock())
        consumer = Mock(call_soon=lambda call: call())
        consumer.connection.connection_errors = (ConnectionError,)
        consumer.create_task_handler = lambda: self._take_up
        self.step.start(consumer)
        self.told.clear()

    def _take_up(self, case: Case) -> None:
        if case.name == "cannot be handed over":
            self.at_work.append(case)
            raise TypeError("argument of type 'int' is not iterable")
        if case.name not in self.cancelled:
            self.at_work.append(case)

    def look(self, times: int = 1) -> list[str]:
        """Let it look so often; returns what it works on."""
        for _ in range(times):
            self.step._take()
        return [one.name for one in self.at_work]

    def end(self) -> None:
        """What it works on is done."""
        case = self.at_work.pop()
        case.ack_log_error()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.parametrize("name", ["w 2", "w/2", "ü", "w" * 128])
def test_a_name_that_no_orthanc_would_count_is_refused_at_once(name: str) -> None:
    access, means = Mock(), Mock()
    with pytest.raises(NameRefused, match="letters, digits"):
        serve(access, means, name)
    assert access.mock_calls == []


def wait(queue: Queue, names: Sequence[str]) -> None:
    queue.cases.extend(Case(name) for name in names)


def test_it_takes_people_first_and_the_next_as_soon_as_one_is_done(scene: Scene) -> None:
    wait(scene.backfill, ["old"])
    wait(scene.arrivals, ["new"])
    wait(scene.people, ["asked"])
    assert scene.look(5) == ["asked"]
    done = []
    while scene.at_work:
        done.append(scene.at_work[0].name)
        scene.end()
    assert done == ["asked", "new", "old"]


def test_it_holds_one_of_a_backfill_that_waits_twice(scene: Scene) -> None:
    wait(scene.backfill, ["1", "2", "3"])
    assert scene.look(2) == ["1"]
    assert scene.told == []
    scene.look(5)
    assert scene.told == ["2"]
    assert len(scene.backfill.cases) == 1


def test_an_arrival_goes_before_what_is_held_and_is_never_held(scene: Scene) -> None:
    wait(scene.backfill, ["1", "2"])
    scene.look(3)
    wait(scene.arrivals, ["new", "newer"])
    assert scene.look(5) == ["1"]
    assert scene.told == ["2"]
    done = []
    while scene.at_work:
        done.append(scene.at_work[0].name)
        scene.end()
    assert done == ["1", "new", "newer", "2"]


def test_nothing_is_held_beside_a_case_that_a_worker_was_lost_over(scene: Scene) -> None:
    scene.backfill.cases.append(Case("1", was_lost=True))
    wait(scene.backfill, ["2", "3"])
    assert scene.look(9) == ["1"]
    assert scene.told == []
    scene.end()
    scene.look(9)
    assert scene.told == ["3"]


def test_what_was_held_and_cancelled_is_forgotten(scene: Scene) -> None:
    wait(scene.backfill, ["1", "2"])
    scene.look(3)
    scene.cancelled.add("2")
    scene.end()
    assert scene.at_work == []
    assert scene.told == ["2", ""]


def test_what_is_held_and_cancelled_makes_room_at_once_though_others_go_before_it(
    scene: Scene,
) -> None:
    wait(scene.backfill, ["1", "2", "3", "4"])
    scene.look(3)
    scene.cancelled.add("2")
    wait(scene.people, ["asked"])
    assert scene.look(5) == ["1"]
    assert scene.told == ["2", "", "3"]


def test_what_cannot_be_handed_to_the_child_is_put_aside_and_the_next_is_taken(
    scene: Scene,
) -> None:
    wait(scene.arrivals, ["cannot be handed over", "can be"])
    [case, _] = scene.arrivals.cases
    assert scene.look(2) == ["can be"]
    assert case.acknowledged


@pytest.mark.parametrize("user", [0, 1000])
def test_root_is_told_what_applies_to_our_command(
    user: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("getuid", "geteuid"):
        monkeypatch.setattr(os, name, lambda: user)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _warn_root()
        check_privileges({"json"})
    assert not told
    assert ("runs as root" in caplog.text) == (user == 0)
