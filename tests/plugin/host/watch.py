"""A client that asks all the time, and what must be true after every fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests

from tests.plugin.host.conftest import ENDED, Host
from tests.support.orthanc_server import HUNG_UP, OrthancServer
from tests.support.patience import patience_s, wait_for

# A second at the most on a fast machine, says tests/bench; a call that held Python's global lock
# for as long as a dead modality or a silent process takes would be caught by this, too.
WITHIN_S = 3.0
_ASK_EVERY_S = 0.02


class Client:
    """Asks in a thread of its own; while Orthanc is down nobody answers, which is not slow."""

    def __init__(self, server: OrthancServer) -> None:
        self.answers = 0
        self.unanswered = ""
        self._server = server
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(30)

    def _ask(self) -> None:
        while not self._enough.is_set():
            for path in ("/system", "/liver/jobs"):
                try:
                    answer = requests.get(self._server.url + path, timeout=patience_s(WITHIN_S))
                except HUNG_UP:
                    continue
                except requests.Timeout:
                    self.unanswered = path
                    return
                self.answers += answer.status_code == 200
            self._enough.wait(_ASK_EVERY_S)


@contextmanager
def answered_throughout(host: Host) -> Iterator[Client]:
    """Meanwhile Orthanc answers every question, and often enough to tell."""
    client = Client(host.orthanc)
    client.start()
    try:
        yield client
        wait_for("enough answers", lambda: client.unanswered or client.answers > 20)
    finally:
        client.stop()
    assert not client.unanswered


def check_nothing_lost_nothing_twice(host: Host, expected: Mapping[str, str]) -> None:
    """Every series, by Orthanc's id, ended in the one way that is expected, and says so itself."""
    for series_id in expected:
        host.ended_job_of(series_id)
    host.idle()
    for series_id, outcome in expected.items():
        jobs = host.jobs_of(series_id)
        assert all(job["State"] in ENDED for job in jobs)
        assert jobs[-1]["Content"]["Outcome"] == outcome, jobs[-1]
        assert bool(jobs[-1]["Content"]["Reason"]) == (
            outcome in ("refused", "failed", "cancelled")
        )
        noted = host.orthanc.get(f"/series/{series_id}/metadata/4501")["Job"]
        shown = jobs[-1]["Content"]
        assert {key: noted.get(key) for key in shown if key in noted}.items() <= shown.items()
        assert {"Series", "SourceKey", "Outcome", "Reason", "Result", "Report"} <= set(noted)
        rtstructs = host.rtstructs_beside(series_id)
        standing = [one for one in rtstructs if not is_superseded(host, one)]
        assert len(standing) == (outcome == "segmented")
        assert rtstructs_by_dicomweb(host, series_id) == len(rtstructs)
        if standing:
            assert jobs[-1]["Content"]["Result"]["Instance"] == standing[0]
    check_no_orphan(host)


def check_no_orphan(host: Host) -> None:
    """Soon at most one inference process is left, and it is a child of this Orthanc."""

    def look() -> bool:
        assert host.orthanc.process is not None
        return all(parent(pid) == host.orthanc.process.pid for pid in host.engine.alive())

    wait_for("no orphan", look, timeout_s=5)
    wait_for("one process", lambda: len(host.engine.alive()) <= 1, timeout_s=5)


def parent(pid: int) -> int:
    """The process that started another, 0 where that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def is_superseded(host: Host, instance: str) -> bool:
    """Whether the RTSTRUCT says that a newer one has taken its place."""
    return host.orthanc.call("GET", f"/instances/{instance}/metadata/4504").status_code == 200


def rtstructs_by_dicomweb(host: Host, series_id: str) -> int:
    """How many RTSTRUCT a viewer finds in the study of a series."""
    study = host.orthanc.get(f"/series/{series_id}/study")["MainDicomTags"]["StudyInstanceUID"]
    answer = host.orthanc.call("GET", f"/dicom-web/studies/{study}/instances?Modality=RTSTRUCT")
    return len(answer.json()) if answer.status_code == 200 else 0
