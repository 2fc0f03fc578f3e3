"""Orthanc with a scripted engine, a fake and a real one, for all tests that do not stop it.

What only a real one can do is asked of it alone, by only_real.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests

from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.fake_orthanc import FakeServer
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import patience_s, wait_for
from tests.support.scripted_engine import ScriptedEngine

ENDED = ("Success", "Failure")


class Host:
    """An Orthanc with our plugin, and the engine that it starts."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        self.engine = ScriptedEngine(folder / "engine")
        ours = {
            "Interpreter": str(self.engine.interpreter),
            "MinimumSlices": 5,
            "Retries": 1,
            "JobTimeoutSeconds": 300,
            **overrides,
        }
        self.orthanc = self._server(folder, ours)

    def _server(self, folder: Path, ours: dict[str, Any]) -> OrthancServer:
        return OrthancServer(folder, {"StableAge": 1, "LiverSegmentation": ours})

    def upload(self, uid_seed: str, **series: Any) -> str:
        """Store a small CT over REST; returns Orthanc's id of the series."""
        return self.store(small_ct(uid_seed, **series))

    def store(self, series: Iterable[pydicom.Dataset]) -> str:
        """Store instances of one series over REST; returns Orthanc's id of the series."""
        answers = [self.orthanc.call("POST", "/instances", to_bytes(one)).json() for one in series]
        return str(answers[0]["ParentSeries"])

    def jobs_of(self, series_id: str) -> list[dict[str, Any]]:
        """The jobs of a series, oldest first."""
        jobs = self.orthanc.get("/liver/jobs?expand")
        return [job for job in jobs if job["Content"]["Series"] == series_id]

    def job(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job as soon as it is in one of the states."""
        return self._job_once(job_id, f"in {states}", lambda job: job["State"] in states)

    def job_in_engine(self, job_id: str) -> dict[str, Any]:
        """The job as soon as the engine works on it; it says Running a moment earlier.

        Cancelled within that moment it would leave its part of the script to the next job.
        """
        return self._job_once(
            job_id,
            "in the engine",
            lambda job: job["State"] == "Running" and job["Progress"] > 0,
        )

    def _job_once(
        self, job_id: str, what: str, reached: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.orthanc.get(f"/liver/jobs/{job_id}")
            return job if reached(job) else None

        return wait_for(f"job {job_id} {what}", look)

    def ended_job_of(self, series_id: str, number: int = 1) -> dict[str, Any]:
        """The number-th job of a series as soon as it has ended."""

        def look() -> dict[str, Any] | None:
            jobs = self.jobs_of(series_id)
            ended = len(jobs) >= number and jobs[number - 1]["State"] in ENDED
            return jobs[number - 1] if ended else None

        return wait_for(f"job {number} of series {series_id}", look)

    def segment(self, series_id: str, **body: Any) -> str:
        """Ask for a series; returns the job's id."""
        answer = self.orthanc.post(f"/liver/series/{series_id}/segment", body or None)
        return str(answer["ID"])

    def rtstructs_beside(self, series_id: str) -> list[str]:
        """The instances of RTSTRUCT series in the study of a series."""
        study = self.orthanc.get(f"/series/{series_id}")["ParentStudy"]
        beside = self.orthanc.get(f"/studies/{study}/series")
        return [
            instance
            for one in beside
            if one["MainDicomTags"]["Modality"] == "RTSTRUCT"
            for instance in one["Instances"]
        ]

    def told_stable(self, series_id: str) -> bool:
        """Whether Orthanc has said that the series is stable."""
        changes = self.orthanc.get("/changes?limit=100000")["Changes"]
        return any(c["ID"] == series_id and c["ChangeType"] == "StableSeries" for c in changes)

    def stable(self, series_id: str) -> None:
        """Wait until Orthanc has said that the series is stable."""
        wait_for(f"StableSeries of {series_id}", lambda: self.told_stable(series_id))

    def engine_at_work(self) -> int:
        """The engine's process as soon as it has a job."""

        def look() -> int | None:
            at_work = {job["pid"] for job in self.engine.jobs()} & set(self.engine.alive())
            running = self.orthanc.get("/liver/status")["Queue"]["Running"]
            return at_work.pop() if at_work and running else None

        return wait_for("an engine at work", look)

    def idle(self) -> None:
        """Wait until no job is left to do."""

        states = ("Pending", "Running", "Retry")
        wait_for("an empty queue", lambda: not self._has_jobs(*states), 30.0)

    def _let_jobs_end(self) -> None:
        """Those that soon do: one that is cut off costs its process, and the start of another."""
        until_s = time.monotonic() + 3
        time.sleep(0.01)  # for what has just arrived to become a job
        while self._has_jobs("Pending", "Running") and time.monotonic() < until_s:
            time.sleep(0.01)

    def _has_jobs(self, *states: str) -> bool:
        queue = self.orthanc.get("/liver/status")["Queue"]
        return any(queue[state] for state in states)

    @contextmanager
    def left_as_it_was(self) -> Iterator[None]:
        """Let no series of a test reach the next: one may be found stable later."""
        before = self.orthanc.get("/studies")
        yield
        if {*self.orthanc.get("/studies")} - {*before} and self.engine.is_quick:
            self._let_jobs_end()
        self.engine.behave()
        for study in {*self.orthanc.get("/studies")} - {*before}:
            self.orthanc.call("DELETE", f"/studies/{study}")
        self.idle()

    def ready(self) -> None:
        """Wait until the engine is up."""
        wait_for("engine", lambda: self.orthanc.get("/liver/status")["Engine"] == "ready", 60)


class FakeHost(Host):
    """The same without an Orthanc: what it stores is stable at once."""

    orthanc: FakeServer

    def _server(self, folder: Path, ours: dict[str, Any]) -> FakeServer:
        overrides = {"StableAge": 1, "LiverSegmentation": ours}
        return FakeServer(folder, overrides, children=self.engine.alive)

    def store(self, series: Iterable[pydicom.Dataset]) -> str:
        series_id = super().store(series)
        self.orthanc.settle(series_id)
        return series_id


class RealEngineHost(Host):
    """A Host whose inference process is the product's around another network."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        # Only here: the tests of other_orthanc.sh go without torch.
        from tests.support.threshold_engine import ThresholdEngine  # noqa: PLC0415

        super().__init__(folder, MinimumSlices=10, **overrides)
        self.real_engine = ThresholdEngine(folder / "real engine")
        ours = self.orthanc.overrides["LiverSegmentation"]
        ours["Interpreter"] = str(self.real_engine.interpreter)
        ours["JobTimeoutSeconds"] = int(patience_s(60))


HOSTS = {"fake": FakeHost, "real": Host}
only_real = pytest.mark.parametrize("shared_host", ["real"], indirect=True)


@pytest.fixture(scope="session", params=HOSTS)
def shared_host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    kind = HOSTS[request.param]
    host = kind(tmp_path_factory.mktemp("host"), Filter={"SeriesDescription": "^(?!.*scout)"})
    with host.orthanc:
        host.ready()
        yield host
    assert "Secret" not in host.orthanc.log()


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """The shared Orthanc; every test brings series of its own."""
    with shared_host.left_as_it_was():
        yield shared_host


@pytest.fixture(scope="session")
def real_engine_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngineHost]:
    one = RealEngineHost(tmp_path_factory.mktemp("real engine"))
    with one.orthanc.until_killed():
        one.ready()
        yield one
    assert "Secret" not in one.orthanc.log()


def error_of(answer: requests.Response) -> tuple[int, str]:
    """The status and the message of a refusal, which must be JSON in Orthanc's manner."""
    body = answer.json()
    assert body["HttpStatus"] == answer.status_code
    assert set(body) >= {"HttpError", "HttpStatus", "Message", "Method", "Uri"}
    return answer.status_code, body["Message"]
