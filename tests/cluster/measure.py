"""python -m tests.cluster.measure [WORKERS...]: a table of what workers cost and gain.

Simulated inference of 5 s, cases of 12 small instances of one Orthanc's over loopback. First what
broker and dispatcher add to a case, one at a time: it is given to the inference process and to a
worker in turn, which fetch it alike. Then what it gains to fetch the next case of a backfill while
one computes, with series of 133 MB; how soon a cancelled case stops; at last the throughput of 1
to 16 workers.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import requests

from liver_unet.volume import Grid, Volume
from orthanc_liver.cluster.fetching import files_of
from orthanc_liver.cluster.model import model_of
from orthanc_liver.cluster.orthancs import Address
from orthanc_liver.engine.cluster_case import Case
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
    Recall,
)
from orthanc_liver.host.jobs.engine_process import EngineProcess
from tests.cluster.conftest import Cluster
from tests.support.ct_writer import write_ct_series
from tests.support.patience import wait_for

_SECONDS = 5.0
_SMALL = (12, 4, 6)  # what they cost is not to be what limits many workers on few cores
_LARGE = (250, 512, 520)
_ONE_BY_ONE = 5
_CASES_A_WORKER = 5
_LARGE_CASES = 3
_CANCELLED = 3
_COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Series:
    """What every case is of."""

    id: str
    study_uid: str
    uid: str
    files: Mapping[str, bytes]

    def case(self, limit_s: int = 600) -> Case:
        """One that nobody else has had."""
        md5 = tuple(hashlib.md5(f, usedforsecurity=False).hexdigest() for f in self.files.values())
        return Case(
            "measured", str(uuid.uuid4()), 1, self.id, self.study_uid, self.uid,
            tuple(self.files), md5, JobSettings(), model_of().sha256, limit_s,
        )  # fmt: skip


def main() -> None:
    """Print the table, line by line as it comes."""
    counts = [int(one) for one in sys.argv[1:]] or list(_COUNTS)
    with tempfile.TemporaryDirectory(prefix="liver-measure-", ignore_cleanup_errors=True) as place:
        _measure(Path(place), counts)


def _measure(folder: Path, counts: Sequence[int]) -> None:
    cluster = Cluster(folder)
    try:
        cluster.broker.start()
        host = cluster.start_host("measured", Automatic=False, Broker={})
        small, large = (_stored(cluster, shape) for shape in (_SMALL, _LARGE))
        cluster.behave(seconds=_SECONDS)
        _line("what", "cases", "seconds", "a case", "of ideal", "load")
        cluster.have_workers(1)
        _one_by_one(cluster, small, Address("measured", host.orthanc.url))
        _ahead(cluster, large)
        _cancelled(cluster, small)
        single = 0.0
        for count in counts:
            cluster.have_workers(count)
            single = _throughput(cluster, small, count, single)
    finally:
        cluster.close()


def _stored(cluster: Cluster, shape: tuple[int, int, int]) -> Series:
    orthanc = cluster.hosts["measured"].orthanc
    datasets = _ct(shape)
    series = cluster.hosts["measured"].store(datasets)
    files = {
        one: requests.get(f"{orthanc.url}/instances/{one}/file", timeout=60).content
        for one in orthanc.get(f"/series/{series}")["Instances"]
    }
    first = datasets[0]
    return Series(series, str(first.StudyInstanceUID), str(first.SeriesInstanceUID), files)


def _ct(shape: tuple[int, int, int]) -> list[pydicom.FileDataset]:
    affine = np.array([[0, 0, 0.8, -9], [0, 0.7, 0, -7], [2, 0, 0, 5], [0, 0, 0, 1]], float)
    hu = np.full(shape, 40, np.float32)
    return list(write_ct_series(Volume(hu, Grid(shape, affine)), uid_seed=f"measured {shape}"))


def _line(*cells: str) -> None:
    widths = (34, 6, 8, 8, 9, 6)
    row = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    sys.stdout.write(row + "\n")
    sys.stdout.flush()


def _tell(what: str, took_s: float, cases: int, each_s: float, of_ideal: float) -> None:
    load = f"{os.getloadavg()[0]:.1f}"
    _line(what, str(cases), f"{took_s:.2f}", f"{each_s:.3f}", f"{of_ideal:.3f}", load)


def _one_by_one(cluster: Cluster, series: Series, address: Address) -> None:
    """In turn, so that whatever else the machine does meets both alike."""
    embedded: list[float] = []
    by_worker: list[float] = []
    engine = EngineProcess([str(cluster.engine.interpreter)])
    try:
        engine.wait_ready()
        with _dispatcher(cluster, 1) as dispatcher:
            for _ in range(_ONE_BY_ONE):
                embedded.append(_embedded_s(engine, series, address))
                by_worker.append(_by_workers_s(dispatcher, [series.case()]))
    finally:
        engine.close()
    for what, each in (
        ("embedded", embedded),
        ("a worker", by_worker),
    ):
        median_s = statistics.median(each)
        _tell(f"one at a time, {what}", sum(each), len(each), median_s, _SECONDS / median_s)
    added_s = statistics.median(by_worker) - statistics.median(embedded)
    _line("added by broker and dispatcher", "", "", f"{added_s:.3f}", "", "")


def _embedded_s(engine: EngineProcess, series: Series, address: Address) -> float:
    """The worker thread's part: fetch, give, wait."""
    case = series.case()
    began_s = time.monotonic()
    engine.send(Order(case.job, len(case.instances), JobSettings()))
    for file in files_of(case, address):
        engine.send(Instance(case.job, file))
    while not isinstance(engine.receive(), Done):
        pass
    return time.monotonic() - began_s


def _ahead(cluster: Cluster, series: Series) -> None:
    """The same cases by one worker, as arrivals, which nobody reads ahead, and as a backfill."""
    for what, rank in (("133 MB, in turn", Rank.ARRIVALS), ("133 MB, read ahead", Rank.BACKFILL)):
        with _dispatcher(cluster, 1) as dispatcher:
            cases = [series.case() for _ in range(_LARGE_CASES)]
            took_s = _by_workers_s(dispatcher, cases, rank)
        _tell(what, took_s, len(cases), took_s / len(cases), _SECONDS * len(cases) / took_s)


def _cancelled(cluster: Cluster, series: Series) -> None:
    """From Orthanc's word to the end of the process that computes."""
    took_s = []
    with _dispatcher(cluster, 1) as dispatcher:
        for _ in range(_CANCELLED):
            before = len(cluster.engine.jobs())
            cluster.behave("hang", times=1)
            case = series.case()
            dispatcher.send(Errand(case.job, Rank.PEOPLE, case.as_text().encode()))
            pid = cluster.at_work(before)
            began_s = time.monotonic()
            dispatcher.send(Recall(case.job))
            wait_for("its end", lambda pid=pid: pid not in cluster.engine.alive())  # type: ignore[misc]
            took_s.append(time.monotonic() - began_s)
    _line("cancelled, the slowest", str(len(took_s)), "", f"{max(took_s):.3f}", "", "")
    cluster.behave(seconds=_SECONDS)


def _throughput(cluster: Cluster, series: Series, count: int, single: float) -> float:
    """Returns the cases a second and worker that one worker comes to."""
    cases = count * _CASES_A_WORKER
    with _dispatcher(cluster, count) as dispatcher:
        took_s = _by_workers_s(dispatcher, [series.case() for _ in range(cases)])
    rate = cases / took_s
    single = single or rate / count
    _tell(f"{count} workers at once", took_s, cases, took_s * count / cases, rate / count / single)
    return single


def _by_workers_s(
    dispatcher: EngineProcess, cases: Sequence[Case], rank: Rank = Rank.ARRIVALS
) -> float:
    began_s = time.monotonic()
    for case in cases:
        dispatcher.send(Errand(case.job, rank, case.as_text().encode()))
    done = 0
    while done < len(cases):
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
