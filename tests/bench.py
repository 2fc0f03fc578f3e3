"""make bench: timings side by side in one run, printed as medians and ratios.

So far: how much a running job costs the clients of Orthanc, and one case by stage.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.support.ct_writer import write_ct_series
from tests.support.orthanc_server import OrthancServer, wait_for
from tests.support.phantom import abdomen

_ASK_EVERY_S = 0.02
_IDLE_S = 10.0


def main() -> None:
    instances = write_ct_series(abdomen((120, 256, 320), (3.0, 1.3, 1.2)).volume)
    with (
        tempfile.TemporaryDirectory(prefix="orthanc-liver-bench-") as folder,
        OrthancServer(Path(folder), {"StableAge": 1}) as server,
    ):
        wait_for("the model", lambda: server.get("/liver/status")["Engine"] == "ready", 120)
        until_s = time.monotonic() + _IDLE_S
        idle_ms = _latencies_ms(server, lambda: time.monotonic() > until_s)
        server.send(instances)
        wait_for("the job", lambda: server.get("/liver/jobs"), 60)
        busy_ms = _latencies_ms(server, lambda: _finished(server))
        (job,) = server.get("/liver/jobs?expand")
    if job["Content"]["Outcome"] != "segmented":
        sys.exit(f"the job ended as {job['Content']['Outcome']}: {job['Content']['Reason']}")
    print("GET /system      median ms   p99 ms   answers")
    for name, latencies_ms in (("idle", idle_ms), ("during a job", busy_ms)):
        median, p99 = statistics.median(latencies_ms), _p99(latencies_ms)
        print(f"{name:15} {median:10.2f} {p99:8.2f} {len(latencies_ms):9}")
    print(f"p99 during a job / idle: {_p99(busy_ms) / _p99(idle_ms):.2f}")
    print(f"one case of {len(instances)} slices, seconds by stage:")
    for stage, seconds in job["Content"]["Report"]["seconds"].items():
        print(f"  {stage:22} {seconds:8.2f}")


def _latencies_ms(server: OrthancServer, enough: Callable[[], bool]) -> list[float]:
    session = requests.Session()
    latencies_ms: list[float] = []
    while len(latencies_ms) < 100 or len(latencies_ms) % 20 or not enough():
        began = time.perf_counter()
        session.get(f"{server.url}/system", timeout=30).raise_for_status()
        latencies_ms.append(1000 * (time.perf_counter() - began))
        time.sleep(_ASK_EVERY_S)
    return latencies_ms


def _finished(server: OrthancServer) -> bool:
    (job,) = server.get("/liver/jobs?expand")
    return job["State"] in ("Success", "Failure")


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    main()
