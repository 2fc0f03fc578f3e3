"""A real Orthanc with the plugin: cases at once, gaps between jobs, idleness, latency."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import requests

from tests.plugin.host.series import small_ct
from tests.support.ct_writer import as_another_patient, write_files
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import wait_for
from tests.support.processes import children_of

_STABLE_AGE_S = 1
_TIMEOUT_S = 900.0
_ASK_EVERY_S = 0.02
_IDLE_S = 10.0
_SENT_AT_A_TIME = 6
# Who asks takes time from Orthanc; when a job ended, the job says.
_ASK_FOR_JOBS_EVERY_S = 1.0


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


@dataclass(frozen=True)
class Sent:
    """What became of some cases; seconds since the first C-STORE. cpu_s: of all of them, by who
    used it; gaps_s: between one job and the next; stages_s: of the first job."""

    received_s: float
    first_job_s: float
    all_s: float
    gaps_s: list[float]
    cpu_s: dict[str, float]
    stages_s: dict[str, float]


def through_orthanc(cases: int, instances: Sequence[pydicom.FileDataset]) -> Sent:
    """Send cases, several at a time, and wait for the last RTSTRUCT.

    Each case is another patient's: the same pixels under other UIDs. They are written before, and
    sent by a program that costs little: a scanner is another machine.
    """
    with tempfile.TemporaryDirectory(prefix="orthanc-liver-bench-") as written:
        patients = [Path(written, f"{number:02}") for number in range(cases)]
        for folder in patients:
            write_files(folder, as_another_patient(instances, f"BENCH-{folder.name}"))
        os.sync()  # or the disk would be at it while Orthanc stores
        with ready_orthanc() as server:
            return _sent(patients, server)


def _sent(patients: Sequence[Path], server: OrthancServer) -> Sent:
    def since_s(text: str) -> float:
        return (datetime.fromisoformat(text).replace(tzinfo=UTC) - began).total_seconds()

    def send(folder: Path) -> None:
        where = ["127.0.0.1", str(server.dicom_port)]
        command = ["dcmsend", "--call", "ORTHANC", *where, "--scan-directories", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    before, began = _used_s(server), datetime.now(UTC)
    with ThreadPoolExecutor(_SENT_AT_A_TIME) as senders:
        list(senders.map(send, patients))
    received_s = (datetime.now(UTC) - began).total_seconds()
    jobs = wait_for("the jobs", lambda: _ended_by_and_by(server, len(patients)), _TIMEOUT_S)
    used_s = _used_s(server)
    stored = server.post("/tools/find", {"Level": "Series", "Query": {"Modality": "RTSTRUCT"}})
    if len(stored) != len(patients):
        sys.exit(f"{len(stored)} RTSTRUCT came of {len(patients)} series")
    first = min(jobs, key=lambda job: str(job["StartTime"]))
    return Sent(
        received_s=received_s,
        first_job_s=since_s(first["StartTime"]),
        all_s=max(since_s(job["CompletionTime"]) for job in jobs),
        gaps_s=_gaps_s(jobs),
        cpu_s={name: used_s[name] - before[name] for name in used_s},
        stages_s=first["Content"]["Report"]["seconds"],
    )


def _used_s(server: OrthancServer) -> dict[str, float]:
    assert server.process is not None
    orthanc = server.process.pid
    (engine,) = children_of(orthanc)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "Orthanc": _cpu_s(orthanc),
        "inference process": _cpu_s(engine),
        "sender": ended.ru_utime + ended.ru_stime,
    }


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


def _ended_by_and_by(server: OrthancServer, count: int) -> list[dict[str, Any]]:
    time.sleep(_ASK_FOR_JOBS_EVERY_S)
    return _all_ended(server, count)


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
