"""A real Orthanc with the plugin: cases at once, gaps between jobs, idleness, latency."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
import requests

from tests.plugin.host.series import small_ct
from tests.support.ct_writer import as_another_patient
from tests.support.orthanc_server import OrthancServer, send_side_by_side
from tests.support.patience import wait_for
from tests.support.processes import children_of

_STABLE_AGE_S = 1
_TIMEOUT_S = 900.0
_ASK_EVERY_S = 0.02
_IDLE_S = 10.0


_WAITING_JOBS = 200
_ALONE_ANSWERS = 30


@contextmanager
def ready_orthanc() -> Iterator[OrthancServer]:
    """An Orthanc with nothing in it, whose model is loaded."""
    with (
        tempfile.TemporaryDirectory(prefix="orthanc-liver-bench-") as folder,
        OrthancServer(Path(folder), {"StableAge": _STABLE_AGE_S}) as server,
    ):
        wait_for("the model", lambda: server.get("/liver/status")["Engine"] == "ready", 120)
        yield server


def seconds_for(cases: int, instances: Sequence[pydicom.FileDataset]) -> tuple[float, list[float]]:
    """From the first C-STORE to the last RTSTRUCT in Orthanc, and the gaps between the jobs.

    Each case is another patient's: the same pixels under other UIDs. Several are sent at a time.
    """
    patients = [as_another_patient(instances, f"BENCH-{number}") for number in range(cases)]
    with ready_orthanc() as server:
        began = time.perf_counter()
        send_side_by_side(patients, server.dicom_port)
        jobs = wait_for("the jobs", lambda: _all_ended(server, cases), _TIMEOUT_S)
        elapsed_s = time.perf_counter() - began
        stored = server.post("/tools/find", {"Level": "Series", "Query": {"Modality": "RTSTRUCT"}})
        if len(stored) != cases:
            sys.exit(f"{len(stored)} RTSTRUCT came of {cases} series")
    return elapsed_s, _gaps_s(jobs)


def idle_cpu_s(seconds: float = _IDLE_S) -> tuple[float, float]:
    """CPU seconds of Orthanc and of the inference process while there is nothing to do."""
    with ready_orthanc() as server:
        assert server.process is not None
        orthanc = server.process.pid
        (engine,) = children_of(orthanc)
        time.sleep(2.0)  # what the start left to do
        before = [_cpu_s(pid) for pid in (orthanc, engine)]
        time.sleep(seconds)
        after = [_cpu_s(pid) for pid in (orthanc, engine)]
    return after[0] - before[0], after[1] - before[1]


def latencies_ms(instances: Sequence[pydicom.FileDataset]) -> dict[str, list[float]]:
    """How long GET /system takes while nothing runs and while a job does."""
    with ready_orthanc() as server:
        until_s = time.monotonic() + _IDLE_S
        idle = _asked(server, lambda: time.monotonic() > until_s)
        server.send(instances)
        wait_for("the job", lambda: server.get("/liver/jobs"), 60)
        busy = _asked(server, lambda: bool(_all_ended(server, 1)))
    return {"idle": idle, "during a job": busy}


def crowd_ms(clients: int) -> dict[str, list[float]]:
    """How long a list of jobs takes when one client asks, and when all of them ask at once."""
    no_engine = {"Interpreter": "/bin/false", "MinimumSlices": 2}
    settings = {"StableAge": _STABLE_AGE_S, "LiverSegmentation": no_engine}
    with (
        tempfile.TemporaryDirectory(prefix="orthanc-liver-bench-") as folder,
        OrthancServer(Path(folder), settings) as server,
    ):
        server.send(one for n in range(_WAITING_JOBS) for one in small_ct(f"BENCH-{n}", slices=2))
        wait_for("the jobs", lambda: len(server.get("/liver/jobs")) == _WAITING_JOBS, _TIMEOUT_S)
        alone = [_list_ms(server) for _ in range(_ALONE_ANSWERS)]
        together = threading.Barrier(clients)

        def ask(_: int) -> float:
            together.wait()
            return _list_ms(server)

        with ThreadPoolExecutor(clients) as crowd:
            return {"one": alone, f"{clients} at once": list(crowd.map(ask, range(clients)))}


def _list_ms(server: OrthancServer) -> float:
    began_s = time.perf_counter()
    requests.get(f"{server.url}/liver/jobs?expand", timeout=300).raise_for_status()
    return 1000 * (time.perf_counter() - began_s)


def _all_ended(server: OrthancServer, count: int) -> list[dict[str, Any]]:
    jobs = server.get("/liver/jobs?expand")
    if len(jobs) < count or any(job["State"] not in ("Success", "Failure") for job in jobs):
        return []
    for job in jobs:
        if job["Content"]["Outcome"] != "segmented":
            sys.exit(f"a job ended as {job['Content']['Outcome']}: {job['Content']['Reason']}")
    return list(jobs)


def _gaps_s(jobs: Sequence[dict[str, Any]]) -> list[float]:
    """Between the end of one job and the start of the next that was waiting for it."""
    in_order = sorted(jobs, key=lambda job: str(job["StartTime"]))
    times = [
        [
            datetime.fromisoformat(job[key])
            for key in ("CreationTime", "StartTime", "CompletionTime")
        ]
        for job in in_order
    ]
    return [
        (started - ended).total_seconds()
        for (_, _, ended), (created, started, _) in itertools.pairwise(times)
        if created < ended
    ]


def _asked(server: OrthancServer, enough: Callable[[], bool]) -> list[float]:
    session = requests.Session()
    latencies: list[float] = []
    done = threading.Event()
    threading.Thread(target=lambda: _set_when(done, enough), daemon=True).start()
    while len(latencies) < 100 or not done.is_set():
        began = time.perf_counter()
        session.get(f"{server.url}/system", timeout=30).raise_for_status()
        latencies.append(1000 * (time.perf_counter() - began))
        time.sleep(_ASK_EVERY_S)
    return latencies


def _set_when(done: threading.Event, enough: Callable[[], bool]) -> None:
    while not enough():
        time.sleep(0.5)
    done.set()


def _cpu_s(pid: int) -> float:
    """User and system time of a process, from Linux' /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
