"""The inference process, seen from its owner, without Orthanc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_liver.host.jobs.engine_process import EngineGone, EngineProcess, EngineUnavailable
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.orthanc_server import CHECKOUT
from tests.support.patience import patience_s, wait_for
from tests.support.scripted_engine import ScriptedEngine


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
    engine.send({"type": "job", "id": "1", "instances": len(ct), "settings": {}})
    for one in ct:
        engine.send({"type": "instance"}, one)


def last_frame(engine: EngineProcess) -> dict[str, object]:
    while True:
        message, _ = engine.receive(timeout_s=patience_s(10))
        if message["type"] == "done":
            return message


def test_a_warm_process_takes_job_after_job(engine: EngineProcess, script: ScriptedEngine) -> None:
    ready = engine.wait_ready()
    assert (ready.model_name, ready.model_sha256, ready.device) == ("scripted", "a" * 64, "cpu")
    for _ in range(2):
        send_job(engine)
        assert last_frame(engine)["outcome"] == "segmented"
    assert len(script.starts()) == 1


def test_a_crash_is_told_by_signal_and_without_what_a_library_printed(
    engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave("crash")
    send_job(engine)
    with pytest.raises(EngineGone, match="ended by SIGKILL") as gone:
        last_frame(engine)
    assert "Secret" not in str(gone.value)


def test_what_is_no_frame_ends_the_process(engine: EngineProcess, script: ScriptedEngine) -> None:
    engine.wait_ready()
    script.behave("rubbish")
    send_job(engine)
    with pytest.raises(EngineGone, match="not a frame"):
        last_frame(engine)


def test_a_kill_frees_a_writer_whom_nobody_reads(
    engine: EngineProcess, script: ScriptedEngine
) -> None:
    engine.wait_ready()
    script.behave("hang before reading")
    engine.send({"type": "job", "id": "1", "instances": 1, "settings": {}})
    threading.Timer(0.3, engine.kill).start()
    with pytest.raises(EngineGone):  # nothing else ends this
        engine.send({"type": "instance"}, b"x" * 8_000_000)


def test_a_kill_frees_a_reader(engine: EngineProcess) -> None:
    engine.wait_ready()
    threading.Timer(0.3, engine.kill).start()
    for _ in range(2):  # and whoever asks a second time
        with pytest.raises(EngineGone):
            engine.receive(timeout_s=patience_s(10))


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


OWNER = """
import sys
from orthanc_liver.host.jobs.engine_process import EngineProcess
engine = EngineProcess([sys.argv[1]])
engine.wait_ready()
engine.send({"type": "job", "id": "1", "instances": 9, "settings": {}})
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
