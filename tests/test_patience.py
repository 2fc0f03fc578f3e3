"""What keeps the tests themselves honest: waiting, and leaving nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import patience
from tests.support.orthanc_server import CHECKOUT
from tests.support.patience import patience_s, wait_for


def test_a_slow_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0, 0, 0, 0, 0, 7])
    monkeypatch.setattr(patience, "patience_s", lambda base_s: 1e6 * base_s)
    assert wait_for("the sixth look", lambda: next(looks), timeout_s=0.001) == 7


def test_what_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_MOST", 1.0)
    with pytest.raises(TimeoutError, match="a miracle: not after"):
        wait_for("a miracle", lambda: False, timeout_s=0.05)


def test_other_work_and_a_slow_processor_make_for_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    waits = []
    for slowness, load in ((1.0, 0.3), (1.0, 4.0), (3.0, 0.3), (3.0, 4.0), (1000.0, 0.0)):
        monkeypatch.setattr(patience, "_slowness", lambda slowness=slowness: slowness)
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        waits.append(patience_s(10.0))
    assert waits == [10.0, 20.0, 30.0, 60.0, 120.0]


KILLED = """
import sys
from pathlib import Path
from tests.support.orthanc_server import OrthancServer
server = OrthancServer(Path(sys.argv[1]), {"PythonScript": None, "Plugins": []})
server.start()
print(server.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.orthanc
def test_no_orthanc_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe) as owner:
        assert owner.stdout is not None
        orthanc = Path("/proc") / owner.stdout.readline().decode().strip()
        assert b"Orthanc" in (orthanc / "cmdline").read_bytes()
        owner.kill()

    def has_ended() -> bool:
        try:
            return (orthanc / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_for("Orthanc's end", has_ended)
