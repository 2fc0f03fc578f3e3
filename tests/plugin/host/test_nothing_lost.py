"""Faults at several moments of a job; after each: nothing lost, nothing twice, no orphan.

One moment of each fault is in make test, the others are in make test-long.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugin.host.conftest import Host
from tests.plugin.host.series import small_ct
from tests.plugin.host.watch import (
    answered_throughout,
    check_no_orphan,
    check_nothing_lost_nothing_twice,
)
from tests.support import postgresql
from tests.support.patience import wait_for

JOB_S = 1.0
SLICES = 7


@pytest.fixture(scope="module")
def troubled_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("troubled"), Retries=2, JobsKept=1000)
    with one.orthanc.until_killed():
        yield one
    wait_for("the end of the engine", lambda: one.engine.alive() == [], timeout_s=5)
    assert "Secret" not in one.orthanc.log()


@pytest.fixture
def host(troubled_host: Host) -> Iterator[Host]:
    """An Orthanc to which one fault after the other happens."""
    with troubled_host.left_as_it_was():
        yield troubled_host


# Moments: wait until the job of a series is there.


def _waits(host: Host, series_id: str) -> None:
    host.job(host.segment(series_id), "Pending", "Running")


def _is_at(percent: int) -> Callable[[Host, str], None]:
    def wait(host: Host, series_id: str) -> None:
        job_id = host.segment(series_id)

        def look() -> bool:
            job = host.orthanc.get(f"/liver/jobs/{job_id}")
            return bool(job["State"] != "Pending" and job["Progress"] >= percent)

        wait_for(f"{percent} %", look)

    return wait


def _is_answered(host: Host, series_id: str) -> None:
    answers = len(host.engine.answers())
    host.segment(series_id)
    wait_for("an answer of the engine", lambda: len(host.engine.answers()) > answers)


def _says(path: str) -> Callable[[Host, str], None]:
    """Once something is there below the series, which is one step in storing a result."""

    def wait(host: Host, series_id: str) -> None:
        _is_answered(host, series_id)
        whole = f"/series/{series_id}/{path}"
        wait_for(path, lambda: host.orthanc.call("GET", whole).status_code == 200)

    return wait


def _has_rtstruct(host: Host, series_id: str) -> None:
    _is_answered(host, series_id)
    wait_for("the RTSTRUCT", lambda: host.rtstructs_beside(series_id))


MOMENTS = {
    "waits": _waits,
    "starts": _is_at(1),
    "half way": _is_at(50),
    "almost there": _is_at(78),
    "is answered": _is_answered,
    "has its RTSTRUCT": _has_rtstruct,
    "has its picture": _says("attachments/4502/data"),
    "is noted": _says("metadata/4501"),
}

# Faults: what happens to Orthanc or to the series.


def _kill_9_of_orthanc(host: Host, seed: str) -> None:
    host.orthanc.kill9()
    wait_for("no orphan", lambda: host.engine.alive() == [], timeout_s=5)
    host.orthanc.start()


def _kill_9_of_the_engine(host: Host, seed: str) -> None:
    for pid in host.engine.alive():
        os.kill(pid, signal.SIGKILL)


def _sigterm_of_orthanc(host: Host, seed: str) -> None:
    host.orthanc.stop()  # raises where it takes too long
    assert host.engine.alive() == []
    assert host.orthanc.process is not None
    assert host.orthanc.process.returncode == 0
    host.orthanc.start()


def _tools_reset(host: Host, seed: str) -> None:
    starts = host.orthanc.log().count("Orthanc has started")
    host.orthanc.call("POST", "/tools/reset")

    # Orthanc's own plugin for Python may end it here: it reads a name that it freed before.
    def look() -> str:
        if host.orthanc.has_ended():
            return "ended"
        return "up" if host.orthanc.log().count("Orthanc has started") > starts else ""

    if wait_for("a start or an end", look) == "ended":
        host.orthanc.start()


def _sent_again(host: Host, seed: str) -> None:
    host.upload(seed, slices=SLICES)


FAULTS = [
    _kill_9_of_orthanc,
    _kill_9_of_the_engine,
    _sigterm_of_orthanc,
    _tools_reset,
    _sent_again,
]


def each_at(moments: dict[str, Callable[[Host, str], None]], in_test: str) -> list[object]:
    """One moment for make test, the others for make test-long."""
    return [
        pytest.param(wait, id=name, marks=[] if name == in_test else pytest.mark.long)
        for name, wait in moments.items()
    ]


@pytest.mark.parametrize("moment", each_at(MOMENTS, "half way"))
@pytest.mark.parametrize("fault", FAULTS, ids=[one.__name__[1:] for one in FAULTS])
def test_every_series_ends_segmented_once(
    host: Host,
    fault: Callable[[Host, str], None],
    moment: Callable[[Host, str], None],
    request: pytest.FixtureRequest,
) -> None:
    seed = request.node.name
    host.engine.behave(seconds=JOB_S)
    hit, waiting = (host.upload(f"{seed} {n}", slices=SLICES) for n in range(2))
    with answered_throughout(host):
        moment(host, hit)
        before = [job["ID"] for job in host.jobs_of(hit)]
        fault(host, f"{seed} 0")
        check_nothing_lost_nothing_twice(host, {hit: "segmented", waiting: "segmented"})
    [job] = host.jobs_of(hit)
    assert [job["ID"]] == before
    # Only what the inference process does is an attempt.
    assert job["Content"]["Attempt"] == 1 or fault is _kill_9_of_the_engine
    assert len(host.jobs_of(waiting)) == 1


def test_kill_9_of_orthanc_while_the_engine_neither_reads_nor_writes(host: Host) -> None:
    """It would not notice by itself that nobody is there any more."""
    host.engine.behave("hang", times=1)
    series_id = host.upload("silent engine", slices=SLICES)
    with answered_throughout(host):
        _is_at(70)(host, series_id)
        host.engine_at_work()
        _kill_9_of_orthanc(host, "")
        check_nothing_lost_nothing_twice(host, {series_id: "segmented"})


@pytest.mark.parametrize("moment", each_at(MOMENTS, "half way"))
def test_a_cancel(
    host: Host, moment: Callable[[Host, str], None], request: pytest.FixtureRequest
) -> None:
    seed = request.node.name
    host.engine.behave(seconds=JOB_S)
    series_id = host.upload(seed, slices=SLICES)
    with answered_throughout(host):
        moment(host, series_id)
        [job] = host.jobs_of(series_id)
        answer = host.orthanc.call("POST", f"/liver/jobs/{job['ID']}/cancel")
        # Once it is being stored it is too late, and the client hears that.
        outcome = {200: "cancelled", 409: "segmented"}[answer.status_code]
        check_nothing_lost_nothing_twice(host, {series_id: outcome})
    assert len(host.jobs_of(series_id)) == 1


def at_work_on_all(host: Host) -> bool:
    return any(job["instances"] == SLICES for job in host.engine.jobs()[-1:])


def _is_done(host: Host, series_id: str) -> None:
    host.ended_job_of(series_id)


@pytest.fixture(scope="module")
def removing_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("removing"), KeepSuperseded=False)
    with one.orthanc.until_killed():
        yield one


@pytest.mark.parametrize("moment", each_at({**MOMENTS, "is done": _is_done}, "is done"))
@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "removed"])
def test_a_late_slice(
    troubled_host: Host,
    removing_host: Host,
    keeps: bool,
    moment: Callable[[Host, str], None],
    request: pytest.FixtureRequest,
) -> None:
    host = troubled_host if keeps else removing_host
    host.engine.behave(seconds=JOB_S)
    ct = small_ct(request.node.name, slices=SLICES)
    series_id = host.store(ct[:-1])
    with answered_throughout(host):
        moment(host, series_id)
        host.store(ct[-1:])
        host.stable(series_id)
        wait_for("the whole series at work", lambda: at_work_on_all(host))
        check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
    *former, last = host.jobs_of(series_id)
    rtstructs = host.rtstructs_beside(series_id)
    if former:  # the job without the slice had begun already
        [first] = former
        supersedes = last["Content"]["Result"]["Supersedes"]
        assert supersedes == first["Content"]["Result"]["SopInstanceUid"]
        assert len(rtstructs) == (2 if keeps else 1)
    else:
        assert len(rtstructs) == 1


def test_nothing_but_a_result_of_ours_is_ever_removed(removing_host: Host) -> None:
    """Any client may write metadata: a note that names a CT image as our last result."""
    host = removing_host
    ct = small_ct("forged note", slices=SLICES)
    series_id = host.store(ct[:-1])
    host.ended_job_of(series_id)
    [rtstruct] = host.rtstructs_beside(series_id)
    instances = host.orthanc.get(f"/series/{series_id}")["Instances"]
    note = host.orthanc.get(f"/series/{series_id}/metadata/4501")
    note["Result"]["Instance"] = instances[2]
    path = f"/series/{series_id}/metadata/4501"
    assert host.orthanc.call("PUT", path, json.dumps(note).encode()).status_code == 200
    host.store(ct[-1:])
    host.ended_job_of(series_id, number=2)
    assert set(host.orthanc.get(f"/series/{series_id}")["Instances"]) > set(instances)
    assert rtstruct in host.rtstructs_beside(series_id)


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_series_deleted(
    host: Host, moment: Callable[[Host, str], None], request: pytest.FixtureRequest
) -> None:
    host.engine.behave(seconds=JOB_S)
    ct = small_ct(request.node.name, slices=SLICES)
    series_id = host.store(ct)
    with answered_throughout(host):
        moment(host, series_id)
        host.orthanc.call("DELETE", f"/series/{series_id}")
        host.idle()
    check_no_orphan(host)
    [job] = host.jobs_of(series_id)
    left = host.orthanc.lookup(ct[0].StudyInstanceUID)
    if job["State"] == "Success":  # it was done before
        [study] = left
        assert len(host.orthanc.get(study["Path"])["Series"]) == 1
    else:
        assert job["Content"]["Outcome"] == "failed"
        assert "deleted" in job["ErrorDescription"]
        assert left == []


SMALLEST_DISK_MIB = 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few MiB for Orthanc's storage, index included."""
    if postgresql.port():
        pytest.skip("the index is in PostgreSQL, not on this disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALLEST_DISK_MIB}m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only who may mount can fill a disk without harm")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return ballast


@pytest.fixture
def host_on_small_disk(small_disk: Path, tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path, Retries=0)
    storage = str(small_disk / "storage")
    one.orthanc.overrides = {
        **one.orthanc.overrides,
        "StorageDirectory": storage,
        "IndexDirectory": storage,
    }
    with one.orthanc.until_killed():
        yield one


def test_a_full_disk_that_gets_room_again(host_on_small_disk: Host, small_disk: Path) -> None:
    host = host_on_small_disk
    host.engine.behave(seconds=JOB_S)
    series_id = host.upload("room again", slices=SLICES)
    with answered_throughout(host):
        _is_at(50)(host, series_id)
        ballast = fill(small_disk)
        [job] = host.jobs_of(series_id)
        waits_for_room(host, job["ID"])
        ballast.unlink()
        check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
    assert host.jobs_of(series_id)[0]["Content"]["Attempt"] == 1


def waits_for_room(host: Host, job_id: str) -> None:
    """More often in vain than Retries would allow."""
    said = f"job {job_id} waits for Orthanc"
    wait_for("a second time in vain", lambda: host.orthanc.log().count(said) > 1, 60.0)
    waiting = host.job(job_id, "Pending")
    assert waiting["ErrorDescription"]
    assert waiting["Content"]["Attempt"] == 0


def test_a_full_disk_and_a_kill_of_orthanc(host_on_small_disk: Host, small_disk: Path) -> None:
    """Nothing of what happened on the full disk could be written, and nothing of it is lost."""
    host = host_on_small_disk
    host.engine.behave(seconds=JOB_S)
    series_id = host.upload("no room", slices=SLICES)
    with answered_throughout(host):
        _is_at(50)(host, series_id)
        ballast = fill(small_disk)
        [job] = host.jobs_of(series_id)
        waits_for_room(host, job["ID"])
        host.orthanc.kill9()
        ballast.unlink()
        host.orthanc.start()
        check_nothing_lost_nothing_twice(host, {series_id: "segmented"})
    assert host.jobs_of(series_id)[0]["ID"] == job["ID"]


@pytest.mark.parametrize(
    "killed", [False, pytest.param(True, marks=pytest.mark.long)], ids=["", "and killed twice"]
)
def test_two_hundred_series_at_once(host: Host, killed: bool) -> None:
    host.engine.behave()  # the late slices' test leaves it slow
    with answered_throughout(host):
        series = [host.upload(f"one of 200, {killed}, {n}", slices=5) for n in range(200)]
        for _ in range(2 if killed else 0):
            host.engine_at_work()
            _kill_9_of_orthanc(host, "")
        wait_for("every job", lambda: all(map(host.jobs_of, series[-3:])), 60)
        wait_for("the end", lambda: not unfinished(host), 240)
        check_nothing_lost_nothing_twice(host, dict.fromkeys(series, "segmented"))


def unfinished(host: Host) -> int:
    queue = host.orthanc.get("/liver/status")["Queue"]
    return int(queue["Pending"] + queue["Running"] + queue["Retry"])
