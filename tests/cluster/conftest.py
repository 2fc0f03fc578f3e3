"""A broker, Orthancs and workers, all real and on loopback; only the network is scripted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.cluster.model import model_of
from orthanc_liver.engine.cluster_case import PROTOCOL
from tests.plugin.host.conftest import ENDED, Host
from tests.support.gate import Gate
from tests.support.orthanc_server import (
    CHECKOUT,
    ENDS_WITH_US,
    OrthancServer,
    free_port,
)
from tests.support.patience import wait_for
from tests.support.processes import children_of
from tests.support.rabbitmq import RabbitMq, rabbitmq_is_installed
from tests.support.scripted_engine import ScriptedEngine

SECRETS = ("Secret^Patient", "pass-of-orthanc", "guest:guest")


class Gates:
    """What stands between one worker and all that it speaks with."""

    def __init__(self, cluster: Cluster) -> None:
        self.broker = Gate(cluster.broker.port)
        self.orthancs = {name: Gate(host.orthanc.http_port) for name, host in cluster.hosts.items()}
        self.broker_url = cluster.broker.url.replace(
            str(cluster.broker.port), str(self.broker.port)
        )
        self.orthancs_file = cluster.folder / f"through {self.broker.port}.json"
        addresses = {
            name: {"Url": f"http://127.0.0.1:{gate.port}"} for name, gate in self.orthancs.items()
        }
        self.orthancs_file.write_text(json.dumps(addresses))

    @property
    def all(self) -> list[Gate]:
        """To the broker and to every Orthanc."""
        return [self.broker, *self.orthancs.values()]


class Worker:
    """One worker and what it says; protocol: which version of it the worker speaks."""

    def __init__(
        self, cluster: Cluster, name: str, gates: Gates | None = None, protocol: int = PROTOCOL
    ) -> None:
        self.name = name
        self.gates = gates
        self._log = cluster.folder / f"{len(cluster.workers)} {name}.log"
        words = [
            gates.broker_url if gates else cluster.broker.url,
            str(gates.orthancs_file if gates else cluster.orthancs_file),
            *(str(cluster.engine.interpreter), cluster.engine_sha256, name, str(protocol)),
            cluster.broker_ca,
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*ENDS_WITH_US, sys.executable, "-m", "tests.support.cluster_worker", *words],
                env={**os.environ, "ORTHANC_LIVER_BROKER_PASSWORD": cluster.broker.password},
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Until it takes cases."""
        wait_for(f"worker {self.name}", lambda: self.log().count(" ready.") > 0, 30)

    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")

    def pool_child(self) -> int:
        """Celery's child, which works."""
        [child] = children_of(self.process.pid)
        return child

    def has_below(self, pid: int) -> bool:
        """Whether it started this process, or one of its own did."""
        while pid > 1 and pid != self.process.pid:
            stat = Path(f"/proc/{pid}/stat").read_text()
            pid = int(stat.rsplit(")", 1)[1].split()[1])
        return pid == self.process.pid

    def kill9(self) -> None:
        """Without any warning, as where its machine is switched off."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class ClusterHost(Host):
    """An Orthanc that is found again where it was after it was killed."""

    def _server(self, folder: Path, ours: dict[str, Any]) -> OrthancServer:
        overrides = {"StableAge": 1, "LiverSegmentation": ours}
        return OrthancServer(folder, overrides, http_port=free_port())


class Cluster:
    """What a test starts, and ends with it."""

    broker_ca = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = RabbitMq(folder / "broker")
        self.engine = ScriptedEngine(folder / "engine")
        self.engine_sha256 = model_of().sha256
        self.behave()
        self.orthancs_file = folder / "orthancs.json"
        self.hosts: dict[str, Host] = {}
        self.workers: list[Worker] = []
        self._held: list[Path] = []

    def behave(self, ending: Any = "segmented", **script: Any) -> None:
        """How every case goes that starts from now on."""
        self.engine.behave(ending, **{"model_sha256": self.engine_sha256, **script})

    def hold_cases(self) -> None:
        """Let every case that starts from now on compute until it is let go."""
        gate = self.folder / f"gate {time.monotonic_ns()}"
        self.behave(until=str(gate))
        self._held.append(gate)

    def let_go(self) -> None:
        """Let what is held, and whatever starts from now on, come to its end."""
        self.behave()
        while self._held:
            self._held.pop().touch()

    def start_host(self, name: str, **ours: Any) -> Host:
        """An Orthanc of this name, which the workers that start later know."""
        url = ours.pop("broker_url", self.broker.url)
        at_broker = ours.pop("broker_name", name)
        broker = {"Url": url, "Password": self.broker.password, "Orthanc": at_broker}
        ours = {"Interpreter": sys.executable, "Broker": broker, "JobsAtOnce": 3, **ours}
        host = self.hosts[name] = ClusterHost(self.folder / name, **ours)
        host.orthanc.start()
        addresses = {one: {"Url": host.orthanc.url} for one, host in self.hosts.items()}
        self.orthancs_file.write_text(json.dumps(addresses))
        return host

    def start_worker(
        self, name: str, gates: Gates | None = None, protocol: int = PROTOCOL
    ) -> Worker:
        """A worker of this name."""
        worker = Worker(self, name, gates, protocol)
        self.workers.append(worker)
        worker.wait_ready()
        return worker

    def have_workers(self, count: int) -> None:
        """Start as many as there are not yet, side by side."""
        for number in range(len(self.workers), count):
            self.workers.append(Worker(self, f"w{number}"))
        for worker in self.workers:
            worker.wait_ready()

    def end_all_but_the_broker(self) -> None:
        """Orthancs too: the next test has others."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill9()
            for gate in worker.gates.all if worker.gates else ():
                gate.close()
        for host in self.hosts.values():
            host.orthanc.kill9()

    def close(self) -> None:
        """End all of it."""
        self.end_all_but_the_broker()
        self.broker.close()

    def at_work(self, after: int = 0) -> int:
        """The inference process of the next case but so many, as soon as it has it."""
        found = wait_for("a case at work", lambda: self.engine.jobs()[after:])
        return int(found[0]["pid"])

    def said(self) -> str:
        """All logs: of Orthancs, of workers and of the broker."""
        logs = [one.orthanc.log() for one in self.hosts.values()]
        logs += [one.log() for one in self.workers]
        return "\n".join([*logs, (self.broker.folder / "log.txt").read_text(errors="replace")])


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not rabbitmq_is_installed():
        pytest.skip("needs Debian's package rabbitmq-server")
    one = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        one.broker.start()
        yield one
        for secret in SECRETS:
            assert secret not in one.said()
    finally:
        one.close()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """With a broker that serves; Orthancs and workers are for the test to start."""
    try:
        yield running_cluster
    finally:
        running_cluster.end_all_but_the_broker()
        running_cluster.behave()


def check_each_stored_once(host: Host, series: list[str]) -> None:
    """Every series' job ended well, and there is one RTSTRUCT beside it."""
    for one in series:
        wait_for(
            f"the job of {one}",
            lambda one=one: any(job["State"] in ENDED for job in host.jobs_of(one)),  # type: ignore[misc]
            timeout_s=60,
        )
    ended = {one: [job["State"] for job in host.jobs_of(one)] for one in series}
    assert ended == {one: ["Success"] for one in series}
    assert {one: len(host.rtstructs_beside(one)) for one in series} == dict.fromkeys(series, 1)
