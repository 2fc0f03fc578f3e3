"""python -m tests.cluster.measure [WORKERS...]: what broker and dispatcher cost, as JSON lines.

Cases of 40 small instances and so many seconds of simulated inference, from one Orthanc's files
over loopback; first in the inference process itself, then by 1 and more workers.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from orthanc_liver.cluster.model import model_of
from orthanc_liver.engine.case import Case
from orthanc_liver.engine.protocol import (
    BrokerState,
    Connect,
    Done,
    Errand,
    Instance,
    JobSettings,
    Order,
    Outcome,
    Rank,
)
from orthanc_liver.host.jobs.engine_process import EngineProcess
from tests.cluster.conftest import Cluster
from tests.plugin.host.series import small_ct

_SECONDS = 5.0
_INSTANCES = 40
_CASES_A_WORKER = 4


def main() -> None:
    """Tell the seconds a case in each way, in one run."""
    counts = [int(one) for one in sys.argv[1:]] or [1, 2, 4]
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="liver-measure-")))
    try:
        cluster.broker.start()
        host = cluster.start_host("measured", Automatic=False, Broker={})
        series = host.store(small_ct("measured", slices=_INSTANCES))
        ids = host.orthanc.get(f"/series/{series}")["Instances"]
        cluster.behave(seconds=_SECONDS)
        files = {
            one: requests.get(f"{host.orthanc.url}/instances/{one}/file", timeout=60).content
            for one in ids
        }
        _tell("embedded", 1, _embedded(cluster, files, 3), 3)
        for count in counts:
            while len(cluster.workers) < count:
                cluster.start_worker(f"w{len(cluster.workers)}")
            cases = count * _CASES_A_WORKER
            _tell("workers", count, _by_workers(cluster, series, files, cases, count), cases)
    finally:
        cluster.close()


def _tell(how: str, workers: int, took_s: float, cases: int) -> None:
    each_s = took_s * workers / cases
    told = {"how": how, "workers": workers, "cases": cases, "seconds": round(took_s, 2)}
    told |= {"a case and worker": round(each_s, 3), "of ideal": round(_SECONDS / each_s, 3)}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _embedded(cluster: Cluster, files: Mapping[str, bytes], cases: int) -> float:
    """The files are fetched already; that costs the worker thread as much as a worker."""
    engine = EngineProcess([str(cluster.engine.interpreter)])
    try:
        engine.wait_ready()
        began_s = time.monotonic()
        for number in range(cases):
            engine.send(Order(str(number), len(files), JobSettings()))
            for file in files.values():
                engine.send(Instance(str(number), file))
            while not isinstance(engine.receive(), Done):
                pass
        return time.monotonic() - began_s
    finally:
        engine.close()


def _by_workers(
    cluster: Cluster, series: str, files: Mapping[str, bytes], cases: int, workers: int
) -> float:
    md5 = tuple(hashlib.md5(one, usedforsecurity=False).hexdigest() for one in files.values())
    with _dispatcher(cluster, workers) as dispatcher:
        began_s = time.monotonic()
        for number in range(cases):
            case = Case(
                "measured", f"{time.time_ns():x}", 1, series, tuple(files), md5, JobSettings(),
                model_of().sha256, 600 + number,
            )  # fmt: skip
            dispatcher.send(Errand(case.job, Rank.ARRIVALS, case.as_text().encode()))
        done = 0
        while done < cases:
            message = dispatcher.hear()
            if isinstance(message, Done):
                assert message.outcome is Outcome.SEGMENTED, message.reason
                done += 1
        return time.monotonic() - began_s


@contextmanager
def _dispatcher(cluster: Cluster, workers: int) -> Iterator[EngineProcess]:
    process = EngineProcess([sys.executable, "-m", "orthanc_liver.cluster.dispatcher"])
    try:
        process.send(Connect(cluster.broker.url, cluster.broker.password, "", "measured"))
        process.wait_ready()
        while True:
            state = process.hear()
            if isinstance(state, BrokerState) and state.workers == workers:
                break
        yield process
    finally:
        process.close()


if __name__ == "__main__":
    main()
