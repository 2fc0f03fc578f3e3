"""kill -9 of all that takes part, each while a case is fetched, computed and delivered.

Two Orthancs, three workers, 24 series: 24 outlines, none lost, none twice. A moment is reached by
what happens then: a gate sees the request for an image, the engine notes a case, a gate sees the
result at the broker and keeps its confirmation back.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import product

import pytest
from kombu.connection import Connection

from orthanc_liver.cluster.broker import declare_cases
from tests.cluster.conftest import Cluster, Gates, Worker, check_each_stored_once
from tests.plugin.host.conftest import Host
from tests.support.patience import wait_for
from tests.support.processes import children_of

SERIES = 24
MINUTE_S = 60.0
MOMENTS = ("fetching", "computing", "delivering")
WHO = ("worker", "pool child", "inference process", "broker", "orthanc")


class Scene:
    """Everything that can be killed."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.hosts = [cluster.start_host(name, Retries=6) for name in ("first", "second")]
        self.workers = [self._start(name, Gates(cluster)) for name in ("one", "two", "three")]
        self.stored: dict[str, Host] = {}
        self.computed_before = 0

    def upload(self, number: int) -> str:
        """One more series, to each Orthanc in turn."""
        host = self.hosts[number % 2]
        series = host.upload(f"killed meanwhile {number}", slices=7)
        self.stored[series] = host
        return series

    def stop_at(self, moment: str) -> None:
        """Let the next case come so far."""
        self.computed_before = len(self.cluster.engine.jobs())
        match moment:
            case "fetching":
                for gate in (g for one in self._gates() for g in one.orthancs.values()):
                    gate.hold(b"/file HTTP/1.1")
            case "computing":
                self.cluster.hold_cases()
            case _:
                for one in self._gates():
                    one.broker.hold(b'"type": "Done"', has_passed=True)

    def worker_at(self, moment: str) -> Worker:
        """Whose case has come so far."""
        if moment == "computing":
            pid = self.cluster.at_work(self.computed_before)
            return next(one for one in self.workers if one.has_below(pid))
        return wait_for(moment, lambda: next(filter(_is_held, self.workers), None), 60)

    def go_on(self) -> None:
        """Nothing is held any more."""
        self.cluster.let_go()
        for gate in (gate for one in self._gates() for gate in one.all):
            gate.open()

    def kill(self, who: str, at_it: Worker, host: Host) -> Callable[[], None]:
        """Kill it; returns what brings it back."""
        match who:
            case "worker":
                at_it.kill9()
                return lambda: self._replace(at_it)
            case "pool child":
                os.kill(at_it.pool_child(), signal.SIGKILL)
            case "inference process":
                [engine] = children_of(at_it.pool_child())
                os.kill(engine, signal.SIGKILL)
            case "broker":
                self.cluster.broker.kill9()
                return self.cluster.broker.start
            case _:
                host.orthanc.kill9()
                return host.orthanc.start
        return lambda: None

    def _gates(self) -> list[Gates]:
        return [one.gates for one in self.workers if one.gates]

    def _start(self, name: str, gates: Gates) -> Worker:
        return self.cluster.start_worker(name, gates)

    def _replace(self, worker: Worker) -> None:
        assert worker.gates
        self.workers.remove(worker)
        self.workers.append(self._start(worker.name, worker.gates))


def _is_held(worker: Worker) -> bool:
    return bool(worker.gates and any(gate.is_held.is_set() for gate in worker.gates.all))


@pytest.mark.timeout(900)
def test_whatever_is_killed_whenever_24_series_become_24_outlines(cluster: Cluster) -> None:
    scene = Scene(cluster)
    for number, (who, moment) in enumerate(product(WHO, MOMENTS)):
        scene.stop_at(moment)
        series = [scene.upload(number)]
        if number + len(WHO) * len(MOMENTS) < SERIES:
            series.append(scene.upload(number + len(WHO) * len(MOMENTS)))
        at_it = scene.worker_at(moment)
        bring_back = scene.kill(who, at_it, scene.stored[series[0]])
        scene.go_on()
        if (who, moment) == ("broker", "computing"):
            _be_away_for_a_minute(scene)
        bring_back()
        for one in series:
            check_each_stored_once(scene.stored[one], [one])
    assert len(scene.stored) == SERIES
    for host in scene.hosts:
        check_each_stored_once(host, [one for one, its in scene.stored.items() if its is host])
    assert _left_at_the_broker(cluster) == 0


def _be_away_for_a_minute(scene: Scene) -> None:
    """The broker is: both Orthancs say so, and go on taking series."""
    since_s = time.monotonic()
    for host in scene.hosts:
        wait_for("away", lambda host=host: _broker_of(host) == "away", 60)  # type: ignore[misc]
    time.sleep(max(0.0, since_s + MINUTE_S - time.monotonic()))
    assert [_broker_of(host) for host in scene.hosts] == ["away", "away"]


def _broker_of(host: Host) -> str:
    return str(host.orthanc.get("/liver/status")["Broker"]["State"])


def _left_at_the_broker(cluster: Cluster) -> int:
    """Cases that wait, and dead letters."""
    broker = cluster.broker
    with Connection(broker.url.replace("@", f":{broker.password}@", 1)) as connection:
        channel = connection.channel()
        cases = declare_cases(channel, cluster.engine_sha256)
        names = [*(one.name for one in cases), "liver.dead"]
        return sum(channel.queue_declare(one, passive=True).message_count for one in names)
