"""The inference process, seen from its owner, without Orthanc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_liver.engine.protocol import (
    Done,
    Instance,
    JobSettings,
    Message,
    Order,
    Outcome,
    ResultObject,
)
from orthanc_liver.host.errors import EngineGone, EngineUnavailable
from orthanc_liver.host.jobs import engine_process
from orthanc_liver.host.jobs.engine_process import EngineProcess
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.orthanc_server import CHECKOUT
from tests.support.patience import wait_for
from tests.support.scripted_engine import Ending, ScriptedEngine


@pytest.fixture
def script(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path)


@pytest.fixture
def engine(script: ScriptedEngine) -> Iterator[EngineProcess]:
    process = EngineProcess([str(script.interpreter)])
    yield process
    process.close()
    assert script.alive() == []


def send_job(engine: EngineProcess) -> None:
    ct = [to_bytes(one) for one in small_ct("engine process")]
    engine.send(Order("1", len(ct), JobSettings()))
    for one in ct:
        engine.send(Instance("1", one))


def outcome_of(engine: EngineProcess) -> Outcome:
    """How the job ended; waits for ever where receive does."""
    while not isinstance(message := engine.receive(), Done):
        pass
    return message.outcome


def test_a_warm_process_takes_job_after_job(engine: EngineProcess, script: ScriptedEngine) -> None:
    ready = engine.wait_ready()
    assert (ready.model_name, ready.model_sha256, ready.device) == ("scripted", "a" * 64, "cpu")
    for _ in range(2):
        send_job(engine)
        assert outcome_of(engine) is Outcome.SEGMENTED
    assert len(script.starts()) == 1


def test_a_crash_is_told_by_signal_and_without_what_a_library_printed(
    engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave("crash")
    send_job(engine)
    with pytest.raises(EngineGone, match="ended by SIGKILL") as gone:
        outcome_of(engine)
    assert "Secret" not in str(gone.value)


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("rubbish", "sent a message without a head"),
        ("deeply nested", "sent something that is not a message"),
        ("4 GiB", "sent more than a job may send"),
        ("wrong types", "sent something that is not a message"),
        ("another job", "sent a message of another job"),
        ("orphan holds the pipes", "was ended by SIGKILL"),
        ("orphan in a session of its own", "was ended by SIGKILL"),
    ],
)
def test_whatever_a_process_does_whoever_waits_is_told(
    ending: Ending, told: str, engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave(ending)
    send_job(engine)
    with pytest.raises(EngineGone, match=told):
        outcome_of(engine)
    assert not engine.alive
    wait_for("the end of the process", lambda: script.alive() == [])
    if ending == "orphan in a session of its own":
        assert script.end_orphans() == 1
    wait_for("the end of what it started", lambda: script.orphans() == [])


def test_an_answer_without_end_is_cut_off(
    script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "MAX_ANSWER_BYTES", 40 * 1024**2)
    engine = EngineProcess([str(script.interpreter)])
    engine.wait_ready()
    script.behave("without end")
    send_job(engine)
    received: list[Message] = []
    with pytest.raises(EngineGone, match="more than a job may send"):
        received.extend(iter(engine.receive, None))
    assert sum(isinstance(one, ResultObject) for one in received) == 4  # of 8 MiB
    engine.close()


def test_each_job_may_send_as_much(script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "MAX_ANSWER_BYTES", 60_000)
    engine = EngineProcess([str(script.interpreter)])
    engine.wait_ready()
    for _ in range(5):  # some 40 kB each
        send_job(engine)
        assert outcome_of(engine) is Outcome.SEGMENTED
    engine.close()


def test_an_endless_line_on_standard_error_is_not_kept(
    engine: EngineProcess, script: ScriptedEngine
) -> None:
    script.behave("endless line on standard error", start="ready")
    engine.wait_ready()
    send_job(engine)
    tracemalloc.start()
    with pytest.raises(EngineGone, match=r"ended by SIGKILL$"):
        outcome_of(engine)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024**2  # the line has 64 MiB


def test_what_a_process_starts_ends_with_it_also_when_it_is_dead_already(
    engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave("orphan holds the pipes")
    send_job(engine)
    wait_for("the end of the process", lambda: script.alive() == [])
    wait_for("the end of what it started", lambda: script.orphans() == [])


def test_a_ready_of_wrong_types_is_no_ready(script: ScriptedEngine) -> None:
    script.behave(start="wrong types")
    process = EngineProcess([str(script.interpreter)])
    with pytest.raises(EngineUnavailable, match="not a message"):
        process.wait_ready()
    process.close()


def test_the_child_is_not_in_our_folder(engine: EngineProcess) -> None:
    engine.wait_ready()
    assert Path(f"/proc/{engine.pid}/cwd").readlink() == Path("/")


def test_close_leaves_no_thread_and_no_descriptor(script: ScriptedEngine) -> None:
    def ours() -> tuple[set[str], int]:
        return {t.name for t in threading.enumerate()}, len(list(Path("/proc/self/fd").iterdir()))

    before = ours()
    for ending in ("hang", "orphan in a session of its own"):
        script.behave(ending)
        engine = EngineProcess([str(script.interpreter)])
        engine.wait_ready()
        send_job(engine)
        wait_for("the job", lambda: len(script.jobs()) == len(script.starts()))
        if "orphan" in ending:
            wait_for("what it leaves behind", script.orphans)
        engine.close()
        engine.close()
        engine.kill()
    assert ours() == before
    assert script.end_orphans() == 1


@pytest.mark.parametrize("ending", ["hang before reading", "hang before reading, beside an orphan"])
def test_a_kill_frees_a_writer_whom_nobody_reads(
    ending: Ending, engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave(ending)
    engine.send(Order("1", 1, JobSettings()))
    wait_for("the job", script.jobs)
    threading.Timer(0.3, engine.kill).start()
    with pytest.raises(EngineGone):
        engine.send(Instance("1", b"x" * 8_000_000))
    assert script.end_orphans() == ("orphan" in ending)


@pytest.mark.parametrize("ending", ["hang before reading", "hang before reading, beside an orphan"])
def test_a_kill_frees_a_reader(
    ending: Ending, engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave(ending)
    engine.send(Order("1", 1, JobSettings()))
    wait_for("the job", script.jobs)
    threading.Timer(0.3, engine.kill).start()
    for _ in range(2):  # and whoever asks a second time
        with pytest.raises(EngineGone):
            engine.receive()
    assert script.end_orphans() == ("orphan" in ending)


def test_a_process_that_says_it_cannot_work(script: ScriptedEngine) -> None:
    script.behave(start="failed")
    process = EngineProcess([str(script.interpreter)])
    with pytest.raises(EngineUnavailable, match="no weights"):
        process.wait_ready()
    process.close()


def test_a_process_that_dies_at_its_start_says_why(script: ScriptedEngine) -> None:
    script.behave(start="crash")
    process = EngineProcess([str(script.interpreter)])
    with pytest.raises(EngineUnavailable, match="code 1: the scripted engine does not start"):
        process.wait_ready()
    process.close()


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(EngineUnavailable, match="No such file"):
        EngineProcess(["/no/such/python"])


def test_the_search_path_of_orthancs_own_python_is_not_the_childs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/orthancs/own")
    monkeypatch.setenv("PYTHONHOME", "/orthancs/home")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho path $PYTHONPATH home $PYTHONHOME >&2\n")
    program.chmod(0o755)
    process = EngineProcess([str(program)])
    with pytest.raises(EngineUnavailable) as error:
        process.wait_ready()
    process.close()
    assert str(error.value).endswith(f"path {CHECKOUT}/plugin:{CHECKOUT}/model home")


@pytest.mark.parametrize(("set_by_whom", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_that_wait_leave_their_core_unless_somebody_wants_it_otherwise(
    set_by_whom: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if set_by_whom:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_by_whom)
    else:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho waits $OMP_WAIT_POLICY >&2\n")
    program.chmod(0o755)
    process = EngineProcess([str(program)])
    with pytest.raises(EngineUnavailable, match=f"waits {expected}$"):
        process.wait_ready()
    process.close()


OWNER = """
import sys
from orthanc_liver.engine.protocol import JobSettings, Order
from orthanc_liver.host.jobs.engine_process import EngineProcess
engine = EngineProcess([sys.argv[1]])
engine.wait_ready()
engine.send(Order("1", 9, JobSettings()))
print("working", flush=True)
engine.receive(60)
engine.receive(60)
"""


def test_the_process_ends_with_its_owner_also_while_it_computes(script: ScriptedEngine) -> None:
    script.behave("hang before reading")
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}/plugin:{CHECKOUT}/model"}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(script.interpreter)],
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"working\n"
    wait_for("the engine has the job", script.jobs)
    assert len(script.alive()) == 1
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    wait_for("the end of the engine", lambda: script.alive() == [], timeout_s=5)
